%%% @doc One turn in a session: what a caller does while it has the session to itself.
%%%
%%% The session's process grants it with all that is to be known of the session (`py_session_server'). A namespace that is not there
%%% yet is started, `init' runs in it, then what was asked for; the end says what it means for the namespace, which is lost with
%%% its Python.
%%% @private
-module(py_session_turn).

-export([take/5, run/3, snapshot/1]).

-type turn() :: #{atom() => term()}.
%% A {@link py_session_server:turn()}, with its deadline.
-type outcome() :: {ok, term()} | {error, term()}.

%% How much longer than `kill_after' a session is asked what has become of it when a deadline has passed.
-define(VERDICT_MS, 2_000).
%% What is said of names that are not copied, at most.
-define(MOST_LEFT, 1_000).
-define(NAME_CHARACTERS, 200).
-define(WHY_CHARACTERS, 1_000).

%% @doc The session to oneself for as long as `Fun' runs: `{{ok, Value} | {error, Error}, How}', `How' for the session's process.
%% The value, or the error as a failure of the API's function.
-spec take(Session :: term(), pid(), py_session_options:call_options(), py_error:api(), fun((turn()) -> {outcome(), done | closed})) ->
    term().
take(Session, Pid, Options, Api, Fun) ->
    case py_session_server:ask(Pid, {turn, maps:get(timeout, Options, default)}) of
        {ok, #{timeout := Timeout} = Granted} ->
            Turn = Granted#{deadline => py_deadline:after_ms(Timeout)},
            try begun(Session, Pid, Turn, Fun) of
                {{ok, Value}, How} ->
                    over(How, Turn, Pid),
                    Value;
                {{error, Error}, _} ->
                    py_error:raise(failed(Error, Turn, Pid), Api)
            catch
                %% Of `init'.
                Class:Reason:Stack ->
                    over(done, Turn, Pid),
                    erlang:raise(Class, Reason, Stack)
            end;
        {error, Reason} ->
            py_error:raise({py, Reason}, Api)
    end.

over(_How, #{nested := true}, _Pid) -> ok;
%% Who opens the next session finds the room that this one had.
over(closed, _Turn, Pid) -> py_session_server:ask(Pid, {over, closed});
over(How, _Turn, Pid) -> gen_server:cast(Pid, {over, self(), How}).

%% The namespace, `init', then what was asked for.
begun(Session, Pid, Turn, Fun) ->
    case start(Turn, Pid) of
        {ok, _} ->
            case initialised(Session, Turn, Pid) of
                {ok, Blocks} -> Fun(Turn#{blocks := Blocks});
                {error, _} = Error -> {Error, done}
            end;
        {error, _} = Error ->
            {Error, done}
    end.

start(#{start := ready}, _Pid) ->
    {ok, ready};
start(#{start := Start, token := Token, streams := Streams} = Turn, Pid) ->
    {Function, Args} =
        case Turn of
            #{start := empty} -> {start, [Token, Streams]};
            %% No box has a key that others know: what comes from one is read in one, which is bound to the same.
            #{boxed := IsBoxed} -> {restore, [Token, {bytes, Start}, IsBoxed, Streams]}
        end,
    case call(Function, Args, #{}, Turn) of
        {ok, _} = Started ->
            gen_server:cast(Pid, {started, self(), Token}),
            Started;
        %% Nothing has run that could have kept it from being in time.
        {error, {py, timeout}} ->
            {error, {not_begun, timeout}};
        %% No namespace was there to be lost; the next start has to wait, where too many have ended too fast.
        {error, {py, {worker_down, _} = Reason}} ->
            {error, {not_begun, Reason}};
        Error ->
            Error
    end.

initialised(_Session, #{init := undefined, blocks := Blocks}, _Pid) ->
    {ok, Blocks};
initialised(Session, #{init := Init} = Turn, Pid) ->
    _ = Init(Session),
    case py_session_server:ask(Pid, init_blocks) of
        {error, Reason} ->
            {error, {py, Reason}};
        OfInit ->
            case run([], #{}, Turn#{blocks := OfInit}) of
                {ok, _} ->
                    case py_session_server:ask(Pid, initialised) of
                        {error, Reason} -> {error, {py, Reason}};
                        Blocks -> {ok, Blocks}
                    end;
                Error ->
                    Error
            end
    end.

%% @doc Send what was defined and executed, and these blocks after it: the value of the last one.
%%
%% A turn that sends nothing needs no call, and finds out by none that the namespace is gone.
-spec run([term()], py_session_options:call_options(), turn()) -> outcome().
run(Last, Options, #{blocks := Before, token := Token} = Turn) ->
    As = maps:get(return, Options, value),
    found(call(run, [Token, Before ++ Last, As], maps:without([return, timeout], Options), Turn)).

found({ok, {true, Value}}) -> {ok, Value};
found({ok, {false, _}}) -> {error, {py, {session_restarted, replaced}}};
%% A sandboxed Python answers with what it likes.
found({ok, _}) -> {error, {py, {protocol, unreadable_answer}}};
found(Error) -> Error.

%% @doc All that pickles of a namespace, and of which names there is nothing in it, and why.
-spec snapshot(turn()) -> {ok, {binary(), [{string(), string()}]}} | {error, term()}.
snapshot(#{token := Token} = Turn) ->
    case call(snapshot, [Token], #{strings => list, haystack => false, arrays => opaque}, Turn) of
        {ok, {true, Bytes, Left}} when is_binary(Bytes), length(Left) >= 0 -> {ok, {Bytes, left(Left)}};
        {ok, {false, _, _}} -> {error, {py, {session_restarted, replaced}}};
        {ok, _} -> {error, {py, {protocol, unreadable_answer}}};
        {error, _} = Error -> Error
    end.

%% Everybody who lists the sessions gets it: it is neither long nor of another shape, whoever made it.
left(Left) -> [{said(Name, ?NAME_CHARACTERS), said(Why, ?WHY_CHARACTERS)} || {Name, Why} <- lists:sublist(Left, ?MOST_LEFT)].

said(Text, Most) ->
    try
        Visible = py_guard:visible(unicode:characters_to_binary(Text)),
        lists:flatten(string:slice(unicode:characters_to_list(Visible), 0, Most))
    catch
        error:_ -> ""
    end.

call(Function, Args, Options, #{worker := Worker, mapping := Mapping, deadline := Deadline, io := Io}) ->
    Mapped = maps:merge(Mapping, Options),
    Call = Mapped#{worker => Worker, timeout => py_deadline:left_ms(Deadline)},
    py_session_io:run(Io, fun() -> py_route:perform({wrapper, call}, ['erl.calls.session', Function, Args, []], Call, self()) end).

%%% Failures

%% The error as the caller gets it; the session's process is told what it means for the namespace.
failed({not_begun, Reason}, Turn, Pid) ->
    settled(done, {py, Reason}, Turn, Pid);
failed({py, timeout} = Error, Turn, Pid) ->
    case outlived(Turn) of
        true -> settled(done, Error, Turn, Pid);
        {false, Why} -> settled(lost, {py, {session_restarted, Why}}, Turn, Pid)
    end;
failed({py, {session_restarted, _}} = Error, Turn, Pid) ->
    settled(lost, Error, Turn, Pid);
%% One that can't be replaced says why.
failed({py, {worker_down, {start, _}}} = Error, Turn, Pid) ->
    settled(lost, Error, Turn, Pid);
failed({py, {worker_down, Why}}, Turn, Pid) ->
    settled(lost, {py, {session_restarted, Why}}, Turn, Pid);
failed({py, {unknown_worker, _}}, Turn, Pid) ->
    settled(lost, {py, {session_restarted, replaced}}, Turn, Pid);
failed(Error, Turn, Pid) ->
    settled(done, Error, Turn, Pid).

settled(_How, Error, #{nested := true}, _Pid) ->
    Error;
settled(How, Error, _Turn, Pid) ->
    case py_session_server:ask(Pid, {over, How}) of
        ok -> Error;
        %% That is why it failed, where the worker went with the session.
        {error, Reason} when How =:= lost -> {py, Reason};
        {error, _} -> Error
    end.

%% Whether the namespace has outlived a deadline: the call was interrupted, or it could not be and Python was killed.
%% It is known when the next call is served, or that long after.
outlived(#{kill_after := KillAfter, token := Token} = Turn) ->
    case call(run, [Token, [], value], #{}, Turn#{deadline := py_deadline:after_ms(KillAfter + ?VERDICT_MS)}) of
        {ok, {false, _}} -> {false, {deadline, killed}};
        {error, {py, {worker_down, Why}}} -> {false, Why};
        {error, {py, {unknown_worker, _}}} -> {false, replaced};
        _ -> true
    end.
