%%% @doc What the code of a session prints, and what it asks of whoever sits before it: a group leader that gives texts to a fun, and asks
%%% another one for lines.
%%%
%%% It stands in for the caller's group leader while the caller's turn lasts, so Python's prints come to it as they would come to a
%%% terminal: a print waits for the fun, and the fun's failures are told in the log and lose that text. It ends with its session.
%%% @private
-module(py_session_io).

-export([start_link/2, run/2]).
%% For Python.
-export([line/1]).

-define(SETTLED_MS, 5_000).

-type funs() :: #{output => fun((unicode:unicode_binary()) -> term()), input => fun((unicode:unicode_binary()) -> term())}.

%% @doc For the session process that calls it: one where there is a fun for texts or for lines. What the funs print goes where the session's
%% owner prints.
-spec start_link(funs(), Owner :: pid()) -> pid() | undefined.
start_link(Funs, _Owner) when map_size(Funs) =:= 0 -> undefined;
start_link(Funs, Owner) ->
    Session = self(),
    Leader =
        case node(Owner) =:= node() andalso process_info(Owner, group_leader) of
            {group_leader, Its} -> Its;
            _ -> group_leader()
        end,
    spawn_link(fun() ->
        _ = monitor(process, Session),
        true = group_leader(Leader, self()),
        loop(Funs, Leader)
    end).

%% @doc Run `Fun' with it as the group leader of the calling process.
-spec run(pid() | undefined, fun(() -> Result)) -> Result.
run(undefined, Fun) -> Fun();
run(Io, Fun) ->
    Before = group_leader(),
    true = group_leader(Io, self()),
    try
        Fun()
    after
        group_leader(Before, self()),
        settled(Io)
    end.

%% The worker process sends a text before the answer behind it: so all that was printed stands in the mailbox, and is with the fun before the
%% turn ends. A fun that takes longer is not waited for.
settled(Io) ->
    Alias = monitor(process, Io, [{alias, reply_demonitor}]),
    Io ! {settle, Alias},
    receive
        {Alias, settled} -> ok;
        {'DOWN', Alias, process, _, _} -> ok
    after ?SETTLED_MS -> demonitor(Alias, [flush]), ok
    end.

%% @doc A line for Python's `input', of the group leader of whoever calls Python: `eof' where there is none.
-spec line(unicode:chardata()) -> unicode:unicode_binary() | eof.
line(Prompt) ->
    case io:get_line(group_leader(), unicode:characters_to_binary(Prompt)) of
        Line when is_list(Line); is_binary(Line) -> unicode:characters_to_binary(Line);
        _ -> eof
    end.

loop(Funs, Leader) ->
    receive
        {io_request, From, As, Request} ->
            From ! {io_reply, As, answer(Request, Funs, Leader)},
            loop(Funs, Leader);
        {settle, Alias} ->
            Alias ! {Alias, settled},
            loop(Funs, Leader);
        {'DOWN', _, process, _, _} ->
            ok;
        _ ->
            loop(Funs, Leader)
    end.

%% Anybody may ask for anything.
answer(Request, Funs, Leader) ->
    try
        done(Request, Funs, Leader)
    catch
        _:_ -> {error, request}
    end.

done({put_chars, Encoding, Text}, Funs, Leader) ->
    put_chars(unicode:characters_to_binary(Text, Encoding, unicode), Funs, Leader);
done({put_chars, Encoding, Module, Function, Args}, Funs, Leader) ->
    try apply(Module, Function, Args) of
        Text -> done({put_chars, Encoding, Text}, Funs, Leader)
    catch
        _:_ -> {error, Function}
    end;
done({get_line, _Encoding, Prompt}, #{input := Fun}, _Leader) ->
    try
        line_of(Fun(unicode:characters_to_binary(Prompt)))
    catch
        Class:Reason:Stack -> told(input, Class, Reason, Stack), eof
    end;
done({get_line, _, _}, _Funs, _Leader) -> eof;
done({requests, Requests}, Funs, Leader) -> lists:foldl(fun(Each, _) -> done(Each, Funs, Leader) end, ok, Requests);
done(getopts, _Funs, _Leader) -> [{binary, true}, {encoding, unicode}];
done({setopts, _}, _Funs, _Leader) -> ok;
done(_Request, _Funs, _Leader) -> {error, request}.

%% What is no text ends the input.
line_of(Line) when is_list(Line); is_binary(Line) -> ended(unicode:characters_to_binary(Line));
line_of(_) -> eof.

%% A line ends as lines do.
ended(Line) when is_binary(Line) -> <<(string:trim(Line, trailing, "\r\n"))/binary, "\n">>;
ended(_) -> eof.

put_chars(Text, #{output := Fun}, _Leader) when is_binary(Text) ->
    try
        _ = Fun(Text),
        ok
    catch
        Class:Reason:Stack -> told(output, Class, Reason, Stack), ok
    end;
put_chars(Text, _Funs, Leader) when is_binary(Text) -> io:put_chars(Leader, Text);
put_chars(_, _Funs, _Leader) -> {error, put_chars}.

told(Which, Class, Reason, Stack) ->
    logger:warning("the ~w fun of a session failed: ~tP", [Which, {Class, Reason, py_excerpt:stack(Stack)}, 30], #{domain => [py]}).
