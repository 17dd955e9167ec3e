%%% @doc What the shell shows of an object in full: its own output is cut after a few dozen elements.
%%% @private
-module(py_print).

-export([prepr/1, pdir/1, pvars/1]).

%% @doc Print Python's `repr' of any value, an opaque or a reference, too.
-spec prepr(term()) -> ok.
prepr(Value) -> io:format("~ts~n", [shown(py_call:builtin(repr, [Value]))]).

%% What a sandboxed Python says of an object commands no terminal.
shown(Text) ->
    try
        py_guard:visible(unicode:characters_to_binary(Text))
    catch
        error:_ -> io_lib:format("~tp", [Text])
    end.

%% @doc Print the names of an object's attributes, one a line.
-spec pdir(term()) -> ok.
pdir(Value) -> [io:format("~ts~n", [shown(Name)]) || Name <- py_call:builtin(dir, [Value])], ok.

%% @doc Print an object's variables, one a line.
-spec pvars(term()) -> ok.
pvars(Value) ->
    {"dict", Pairs} = py_call:object(vars, [Value]),
    [io:format("~ts = ~tp~n", [shown(Name), Variable]) || {Name, Variable} <- Pairs],
    ok.
