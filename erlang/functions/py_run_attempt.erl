%%% @doc One attempt of a run: a process that calls Python, and knows when nothing of the attempt can run any more.
%%%
%%% ```
%%%   server                    attempt                                  Python
%%%     | start                   |                                        |
%%%     |------------------------>| which process leads the group          |
%%%     |      {placed, Process}  |                                        |
%%%     |<------------------------|                                        |
%%%     | written, synced         |                                        |
%%%     |------- {go, N} -------->|------------- the call ---------------->|
%%%     |------- stop ----------->|                                        | result, synced
%%%     |      {ended, Outcome}   |<------------ the answer ---------------|
%%%     |<------------------------|                                        |
%%% '''
%%%
%%% Where there is no answer (Python died, the time is over, the run is stopped, the BEAM was another one) it waits until the group is empty
%%% and then looks for the result. It outlives the server: a successor finds it in the table of attempts.
%%% @private
-module(py_run_attempt).

-export([new/0, start/3, settle/3, fence/2, find/1, enter/1, leave/1, say/1, go/3, drop/1, stop/1, text/1, trust/1]).

-type plan() :: #{runs := file:filename_all(), worker := pid(), pool := py_config:pool_name(), is_fresh := boolean(), mounts => [py_sandbox:mount()], may_keep => boolean()}.
-export_type([plan/0]).

-define(TABLE, ?MODULE).
-define(LATER_MS, 50).
-define(MOST_KNOWN, 10_000).
-define(INLINE_BYTES, 4096).
-define(MOST_TEXT, 1_000).

%% @doc Make the table of attempts; it belongs to the calling process.
-spec new() -> ok.
new() ->
    ?TABLE = ets:new(?TABLE, [named_table, public, set]),
    ok.

%% @doc The process of a run's attempt, if there is one.
-spec find(py_run_state:id()) -> {ok, pid()} | error.
find(Id) ->
    case ets:lookup(?TABLE, Id) of
        [{_, Pid}] ->
            case is_process_alive(Pid) of
                true -> {ok, Pid};
                false -> error
            end;
        [] -> error
    end.

%% @doc Begin with a worker; `{placed, Pid, Id, Process}' says that it may go, `{ended, Pid, Id, Attempt, Outcome}' how it ended.
-spec start(py_run_state:id(), py_run_state:run(), plan()) -> {pid(), reference()}.
start(Id, Run, Plan) ->
    spawn_monitor(fun() ->
        enter(Id),
        place(Id, Run, Plan),
        leave(Id)
    end).

%% @doc An attempt of a server or a BEAM that is no more.
-spec settle(py_run_state:id(), py_run_state:run(), #{runs := file:filename_all()}) -> {pid(), reference()}.
settle(Id, #{attempt := Attempt, process := Process} = Run, #{runs := Runs}) ->
    spawn_monitor(fun() ->
        enter(Id),
        over(Id, Process),
        say({ended, self(), Id, Attempt, settled(Id, Run, Attempt, Runs, {lost, {py, interrupted}})}),
        leave(Id)
    end).

%% @doc Wait until nothing of the last attempt can run: `{said, Pid, Id, fenced}'.
-spec fence(py_run_state:id(), py_run_state:process()) -> {pid(), reference()}.
fence(Id, Process) ->
    spawn_monitor(fun() ->
        over(Id, Process),
        say({said, self(), Id, fenced})
    end).

-spec go(pid(), Attempt :: pos_integer(), py_run_state:run()) -> ok.
go(Pid, Attempt, Run) ->
    Pid ! {go, Attempt, Run},
    ok.

%% @doc It is not to begin.
-spec drop(pid()) -> ok.
drop(Pid) ->
    Pid ! drop,
    ok.

%% @doc Its end is wanted.
-spec stop(pid()) -> ok.
stop(Pid) ->
    Pid ! stop,
    ok.

%% @doc The calling process is this run's attempt.
-spec enter(py_run_state:id()) -> ok.
enter(Id) ->
    ets:insert(?TABLE, {Id, self()}),
    ok.

%% @doc It is not any more.
-spec leave(py_run_state:id()) -> ok.
leave(Id) ->
    _ = catch ets:delete_object(?TABLE, {Id, self()}),
    ok.

%% @doc Tell the server, from an attempt's process; returns when it has heard.
%%
%% Until there is a server that knows it. Where the application has stopped it is known by what was written.
-spec say(tuple()) -> ok.
say(Message) ->
    case whereis(py_runs) of
        undefined ->
            whereis(py_runs_sup) =/= undefined orelse exit(normal),
            receive after ?LATER_MS -> say(Message) end;
        Server ->
            Monitor = monitor(process, Server),
            Server ! Message,
            receive
                {taken, Server} -> demonitor(Monitor, [flush]), ok;
                {'DOWN', Monitor, process, Server, _} -> receive after ?LATER_MS -> say(Message) end
            end
    end.

%%% The beginning

place(Id, Run, #{pool := Pool} = Plan) ->
    case {py_run_state:is_alone(Run) andalso py_run_queues:threads(Pool) > 1, mounts(Run, Plan)} of
        {true, _} -> refused(Id, <<"a run with env, secrets, limits or volumes is alone in its Python: its pool can't have threads">>);
        {false, {error, Text}} -> refused(Id, unicode:characters_to_binary(Text));
        {false, {ok, Mounts}} -> fresh(Id, Plan#{mounts => Mounts})
    end.

refused(Id, Why) -> say({failed, self(), Id, {refused, term_to_binary({py, {run, unicode:characters_to_list(Why)}}), Why}}).

mounts(#{spec := #{project := Project, surroundings := #{volumes := Volumes}}}, #{pool := Pool, runs := Runs}) ->
    case sandbox(Pool) of
        bwrap -> py_run_volumes:mounts(filename:dirname(Runs), Project, Volumes);
        _ -> {error, "volumes are directories of a box: the run's pool has none of bubblewrap's (sandbox => bwrap)"}
    end;
mounts(_Run, _Plan) ->
    {ok, []}.

sandbox(Pool) ->
    case lists:keyfind(Pool, 1, py_registry:configs()) of
        {_, #{sandbox := Kind}} -> Kind;
        _ -> none
    end.

fresh(Id, #{worker := Worker, mounts := [_ | _] = Mounts} = Plan) ->
    case mounted(Worker, Mounts) of
        ok -> asked(Id, Plan);
        {start, _} = Reason -> refused(Id, <<"its box with its volumes does not start: ", (text({py, {worker_down, Reason}}))/binary>>);
        _ -> not_placed(Id)
    end;
fresh(Id, #{worker := Worker, is_fresh := IsFresh} = Plan) ->
    _ = IsFresh andalso replaced(Worker),
    case ets:lookup(?TABLE, {python, Worker}) of
        %% Whether it is the same still Python itself knows best.
        [{_, Python, Process}] -> placed(Id, Process, Plan, Python);
        [] -> asked(Id, Plan)
    end.

asked(Id, #{worker := Worker} = Plan) ->
    case py_worker:info(Worker) of
        {ok, #{state := serving, sandbox := none, os_pid := OsPid}} when is_integer(OsPid) ->
            case {py_fence:group(OsPid), py_launcher:identity(OsPid)} of
                {{ok, Process}, Started} ->
                    Python = {OsPid, started(Started)},
                    known(Worker, Python, Process),
                    placed(Id, Process, Plan, Python);
                {error, _} -> not_placed(Id)
            end;
        {ok, #{state := serving, sandbox := bwrap, os_pid := Inner}} ->
            boxed(Id, Plan, py_worker:box_os_pid(Worker), started(py_launcher:identity(Inner)));
        {ok, #{state := serving, sandbox := docker}} ->
            refused(Id, <<"whether a container of docker's has ended nobody can tell after this node's death: a run's pool can't be in one">>);
        _ ->
            not_placed(Id)
    end.

%% In a box its own number is another one.
boxed(Id, #{worker := Worker, mounts := Mounts} = Plan, OsPid, Started) when is_integer(OsPid), Started =/= <<>> ->
    case {py_worker:mounted(Worker), py_fence:box(OsPid)} of
        {Mounts, {ok, Process}} -> placed(Id, Process, Plan, {0, Started});
        {Mounts, error} -> not_placed(Id);
        %% Those of a run whose attempt has not come to its end, or none any more.
        {_, _} -> replaced(Worker), not_placed(Id)
    end;
boxed(Id, _Plan, _OsPid, _Started) ->
    not_placed(Id).

%% @doc How what it has answered is read.
-spec trust(py_run_state:run()) -> py_send:trust().
trust(#{process := #{inside := _}}) -> {box, py_atoms:session()};
trust(_Run) -> trusted.

known(Worker, Python, Process) ->
    _ = ets:info(?TABLE, size) > ?MOST_KNOWN andalso ets:match_delete(?TABLE, {{python, '_'}, '_', '_'}),
    ets:insert(?TABLE, {{python, Worker}, Python, Process}).

unknown(Worker) ->
    _ = catch ets:delete(?TABLE, {python, Worker}),
    ok.

started(Started) when is_binary(Started) -> Started;
started(_) -> <<>>.

%% The worker is being replaced, and the next one may be, too.
not_placed(Id) ->
    receive after ?LATER_MS -> ok end,
    say({unplaced, self(), Id}).

%% The run comes with the answer, as it is then.
-spec placed(py_run_state:id(), py_run_state:process(), plan(), {non_neg_integer(), binary()}) -> term().
placed(Id, Process, Plan, Python) ->
    say({placed, self(), Id, Process}),
    receive
        {go, Attempt, Run} -> call(Id, Attempt, Run, Plan, Python);
        drop -> maps:get(mounts, Plan) =:= [] orelse replaced(maps:get(worker, Plan))
    end.

call(Id, Attempt, #{spec := Spec} = Run, #{runs := Runs} = Plan, Python) ->
    case py_secrets:given(filename:dirname(Runs), maps:get(surroundings, Spec, #{})) of
        {ok, Surroundings} ->
            call(Id, Attempt, Run, Plan, Python, Surroundings);
        {error, Text} ->
            Error = {py, {run, Text}},
            ended(Id, Attempt, {failed, term_to_binary(Error), text(Error), none})
    end.

call(Id, Attempt, #{spec := #{timeout := Timeout} = Spec} = Run, #{runs := Runs, worker := Worker, pool := Pool} = Plan, Python, Surroundings) ->
    case kept(Id, Spec, Runs) of
        {ok, Flags, Kept} ->
            {OsPid, Started} = Python,
            Directory = directory(Run, Id, Runs, Surroundings),
            case given(Run, Id, Kept) of
                {ok, Given} ->
                    Meta = {Directory, Attempt, OsPid, Started, maps:merge(Surroundings, Given)},
                    Body = py_send:around({'erl.calls.runs', run}, Flags, [Meta, Flags], Kept),
                    Route = #{pool => Pool, worker => Worker, timeout => Timeout},
                    case py_pending:send(Id, Body, Route, self(), py_pending:new()) of
                        {ok, Pending} -> wait(Id, Attempt, Run, Plan#{may_keep => is_map_key(box, Given)}, Pending);
                        {error, Error} -> ended(Id, Attempt, {not_begun, text({py, Error})})
                    end;
                {error, Text} ->
                    Error = {py, {run, Text}},
                    ended(Id, Attempt, {failed, term_to_binary(Error), text(Error), none})
            end;
        {error, Reason} ->
            Error = {py, {run, "the call can't be read from its file: " ++ lists:flatten(io_lib:format("~tp", [Reason]))}},
            ended(Id, Attempt, {failed, term_to_binary(Error), text(Error), none})
    end.

%% A box can't read it itself.
given(#{process := #{inside := _}, spec := #{project := Project}}, Id, Kept) -> py_run_box:given(Id, Project, Kept);
given(_Run, _Id, _Kept) -> {ok, #{}}.

%% A box has none.
directory(#{process := #{inside := _}}, Id, Runs, Surroundings) ->
    Secrets = [Value || {_, {bytes, Value}} <- maps:get(secrets, Surroundings, [])],
    group_leader(py_run_output:start(Runs, Id, Secrets), self()),
    <<>>;
directory(_Run, Id, Runs, _Surroundings) ->
    py_run_files:directory(Runs, Id).

kept(_Id, #{call := {inline, Flags, Kept}}, _Runs) -> {ok, Flags, Kept};
kept(Id, #{call := file}, Runs) ->
    case py_run_files:read_call(Runs, Id) of
        {ok, {Flags, Kept}} -> {ok, Flags, Kept};
        {ok, _} -> {error, unreadable};
        Error -> Error
    end.

wait(Id, Attempt, Run, #{worker := Worker} = Plan, Pending) ->
    receive
        stop ->
            _ = py_pending:cancel(Id, Pending),
            lost(Id, Attempt, Run, Plan, {lost, {py, cancelled}});
        Message ->
            case py_pending:message(Message, Pending) of
                {answer, Id, {frame, Frame, Trust, _}, _} -> answered(py_send:read(Frame, Trust, Worker), Id, Attempt, Run, Plan);
                {answer, Id, {error, {py, Reason}}, _} -> failed(Reason, Id, Attempt, Run, Plan);
                {wait, Next} -> wait(Id, Attempt, Run, Plan, Next);
                unknown -> wait(Id, Attempt, Run, Plan, Pending)
            end
    end.

%%% The end

answered({ok, {0, _, _, Message}}, Id, Attempt, _Run, #{worker := Worker}) ->
    unknown(Worker),
    ended(Id, Attempt, {not_begun, text_of(Message)});
answered({ok, {Kind, Bytes, Size, Message}}, Id, Attempt, #{process := Process} = Run, #{worker := Worker, runs := Runs}) when Kind =:= 1; Kind =:= 2 ->
    Result = result(iolist_to_binary(Bytes), Size, Id, Attempt, Run, Runs),
    %% Before another run has this worker.
    case Kind =:= 2 andalso is_again(Attempt, Run) of
        true -> over(Id, Process);
        false -> _ = py_run_state:is_alone(Run) andalso replaced(Worker)
    end,
    ended(Id, Attempt, outcome(Kind, Result, text_of(Message)));
%% A box has kept something: that is there before the result is.
answered({ok, {Kind, Bytes, Size, Message, Kept}}, Id, Attempt, #{spec := #{project := Project}} = Run, #{runs := Runs, may_keep := true} = Plan) when
    Kind =:= 1; Kind =:= 2
->
    case py_run_box:keep(Runs, Id, Project, Kept) of
        ok ->
            answered({ok, {Kind, Bytes, Size, Message}}, Id, Attempt, Run, Plan);
        {error, Text} ->
            Error = {py, {run, Text}},
            py_run_files:add_to_log(Runs, Id, [Text, $\n]),
            _ = py_run_state:is_alone(Run) andalso replaced(maps:get(worker, Plan)),
            ended(Id, Attempt, {failed, term_to_binary(Error), text(Error), none})
    end;
answered({ok, Other}, Id, Attempt, _Run, _Plan) ->
    Error = {py, {protocol, Other}},
    ended(Id, Attempt, {failed, term_to_binary(Error), text(Error), none});
answered({error, Error}, Id, Attempt, Run, Plan) ->
    %% What interrupted it, or what kept its arguments from being read.
    lost(Id, Attempt, Run, Plan, {failed, Error}).

%% Python has written it, and its log, but where it is in a box.
result(Frame, _Size, Id, Attempt, #{process := #{inside := _}}, Runs) ->
    py_run_output:written(),
    Written = py_run_files:write_result(Runs, Id, Attempt, Frame),
    if
        byte_size(Frame) =< ?INLINE_BYTES; Written =/= ok -> {inline, Frame};
        true -> {file, byte_size(Frame)}
    end;
result(<<>>, Size, _Id, _Attempt, _Run, _Runs) ->
    {file, Size};
result(Frame, _Size, _Id, _Attempt, _Run, _Runs) ->
    {inline, Frame}.

is_again(Attempt, #{most := Most}) -> Attempt < Most.

outcome(1, Result, _Message) -> {completed, Result};
outcome(2, Result, Message) -> {failed, <<>>, Message, Result}.

failed(Reason, Id, Attempt, Run, #{worker := Worker} = Plan) ->
    unknown(Worker),
    case is_unbegun(Reason) of
        true ->
            receive after ?LATER_MS -> ok end,
            ended(Id, Attempt, {not_begun, text({py, Reason})});
        false when Reason =:= timeout -> lost(Id, Attempt, Run, Plan, {failed, {py, timeout}});
        false -> lost(Id, Attempt, Run, Plan, {lost, {py, Reason}})
    end.

is_unbegun(overload) -> true;
is_unbegun(not_started) -> true;
is_unbegun({unknown_pool, _}) -> true;
is_unbegun({unknown_worker, _}) -> true;
is_unbegun({worker_down, restarting}) -> true;
is_unbegun({worker_down, {start, _}}) -> true;
is_unbegun(_) -> false.

%% It may still run, and may have come to its end.
lost(Id, Attempt, #{process := Process} = Run, #{runs := Runs}, Otherwise) ->
    over(Id, Process),
    ended(Id, Attempt, settled(Id, Run, Attempt, Runs, Otherwise)).

settled(Id, Run, Attempt, Runs, {Kind, Error}) ->
    case py_run_files:result(Runs, Id, Attempt) of
        {ok, Frame} ->
            Result = if byte_size(Frame) =< ?INLINE_BYTES -> {inline, Frame}; true -> {file, byte_size(Frame)} end,
            case py_send:stored(Frame, trust(Run)) of
                {ok, _} -> {completed, Result};
                {error, Raised} -> {failed, <<>>, text(Raised), Result}
            end;
        none ->
            py_run_files:add_to_log(Runs, Id, [py_error:text(Error), $\n]),
            otherwise(Kind, term_to_binary(Error), text(Error))
    end.

otherwise(lost, Error, Text) -> {lost, Error, interrupted(Text)};
otherwise(failed, Error, Text) -> {failed, Error, Text, none}.

interrupted(<<"interrupted">> = Text) -> Text;
interrupted(Text) -> <<"interrupted: ", Text/binary>>.

ended(Id, Attempt, Outcome) -> say({ended, self(), Id, Attempt, Outcome}).

%% Where it is a worker's of this node, that gets another Python: its other calls end first, and nobody else pays.
over(Id, #{os_pid := OsPid} = Process) ->
    _ = py_fence:is_alive(Process) andalso lists:foreach(fun replaced/1, workers_of(OsPid)),
    py_fence:await(Process, fun(Left) -> say({orphans, self(), Id, Left}) end).

workers_of(OsPid) ->
    Workers = [Worker || Pool <- py_registry:pools(), {_, Worker} <- py_registry:workers(Pool)],
    [Worker || Worker <- Workers, {ok, Info} <- [py_worker:info(Worker)], leader(Worker, Info) =:= OsPid].

leader(_Worker, #{sandbox := none, os_pid := OsPid}) -> OsPid;
leader(Worker, _Info) -> py_worker:box_os_pid(Worker).

%% With its Python goes what that has forked.
replaced(Worker) ->
    _ = mounted(Worker, []),
    ok.

%% The next one's box has these mounts.
mounted(Worker, Mounts) ->
    unknown(Worker),
    case gen_server:wait_response(py_worker:recycle(Worker, Mounts), infinity) of
        {reply, ok} -> ok;
        {reply, {error, Reason}} -> Reason;
        _ -> gone
    end.

text_of(Text) -> unicode:characters_to_binary(Text).

%% @doc An error as a run's message.
-spec text(term()) -> binary().
text(Error) ->
    Text = py_reason:utf8(case Error of {python, Class, Said, _} -> [atom_to_list(Class), ": ", Said]; _ -> py_error:text(Error) end),
    binary:part(Text, 0, min(?MOST_TEXT, byte_size(Text))).
