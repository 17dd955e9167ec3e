%%% What the jobs of tests write of themselves into a file: a line for each sign of life, a process and a word.
-module(py_run_traces).

-export([lines/1, begun/1, is_apart/1]).

lines(Trace) ->
    case file:read_file(Trace) of
        {ok, Text} -> [list_to_tuple(binary:split(Line, <<" ">>)) || Line <- binary:split(Text, <<"\n">>, [global, trim])];
        {error, enoent} -> []
    end.

%% @doc How many have begun.
begun(Trace) -> length([1 || {_, <<"begin">>} <- lines(Trace)]).

%% @doc Whether none that was followed by another gave a sign of life again.
is_apart(Trace) -> is_apart([Pid || {Pid, _} <- lines(Trace)], []).

is_apart([Pid | Rest], Over) -> not lists:member(Pid, Over) andalso is_apart(lists:dropwhile(fun(Each) -> Each =:= Pid end, Rest), [Pid | Over]);
is_apart([], _Over) -> true.
