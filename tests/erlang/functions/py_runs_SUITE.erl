%%% Runs that survive, in one node: their states and results, what dies beside them, and what is kept.
-module(py_runs_SUITE).

-include_lib("common_test/include/ct.hrl").
-include_lib("stdlib/include/assert.hrl").

-export([suite/0, all/0, init_per_testcase/2, end_per_testcase/2]).
-export([
    nothing_is_there_before_the_first_run/1,
    a_run_is_known_with_its_result_after_a_restart/1,
    values_of_any_size_and_kind_come_back/1,
    what_raises_is_an_error_with_its_trace/1,
    what_a_run_prints_and_logs_is_its_log/1,
    a_worker_that_dies_costs_its_run_alone/1,
    retries_are_made_and_counted/1,
    nothing_of_an_attempt_is_left_when_the_next_begins/1,
    an_attempt_that_takes_too_long_is_over_before_the_next/1,
    a_waiting_and_a_running_run_are_stopped/1,
    a_second_run_with_a_key_is_the_first/1,
    runs_are_listed_by_project_function_and_state/1,
    subscribers_are_told_each_state_in_order/1,
    what_has_ended_is_pruned_with_its_files/1,
    what_ends_before_the_run_is_refused/1,
    a_run_of_another_project_has_a_fresh_python/1,
    the_server_is_killed_while_runs_run/1,
    the_process_of_an_attempt_is_killed/1,
    a_waiting_caller_has_its_answer_after_the_server_was_killed/1,
    runs_wait_for_a_pool_that_comes_later/1,
    a_run_in_a_python_that_was_forked_from_a_zygote/1,
    an_application_that_stops_leaves_no_run_running/1,
    cut_anywhere_at_its_end_the_journal_is_read/1,
    a_python_that_is_replaced_meanwhile_runs_nothing/1,
    in_threads_each_run_has_its_own_log/1,
    a_child_that_returns_from_the_function_is_not_the_attempt/1,
    what_runs_leave_in_the_directory_is_swept/1,
    a_server_that_is_killed_again_and_again_takes_nothing_else_down/1,
    a_directory_that_can_t_be_used_costs_runs_alone/1,
    a_question_in_between_holds_nothing_up/1,
    options_that_there_are_not_are_refused/1
]).

suite() -> [{timetrap, {minutes, 5}}].

all() ->
    [
        nothing_is_there_before_the_first_run,
        a_run_is_known_with_its_result_after_a_restart,
        values_of_any_size_and_kind_come_back,
        what_raises_is_an_error_with_its_trace,
        what_a_run_prints_and_logs_is_its_log,
        a_worker_that_dies_costs_its_run_alone,
        retries_are_made_and_counted,
        nothing_of_an_attempt_is_left_when_the_next_begins,
        an_attempt_that_takes_too_long_is_over_before_the_next,
        a_waiting_and_a_running_run_are_stopped,
        a_second_run_with_a_key_is_the_first,
        runs_are_listed_by_project_function_and_state,
        subscribers_are_told_each_state_in_order,
        what_has_ended_is_pruned_with_its_files,
        what_ends_before_the_run_is_refused,
        a_run_of_another_project_has_a_fresh_python,
        the_server_is_killed_while_runs_run,
        the_process_of_an_attempt_is_killed,
        a_waiting_caller_has_its_answer_after_the_server_was_killed,
        runs_wait_for_a_pool_that_comes_later,
        a_run_in_a_python_that_was_forked_from_a_zygote,
        an_application_that_stops_leaves_no_run_running,
        cut_anywhere_at_its_end_the_journal_is_read,
        a_python_that_is_replaced_meanwhile_runs_nothing,
        in_threads_each_run_has_its_own_log,
        a_child_that_returns_from_the_function_is_not_the_attempt,
        what_runs_leave_in_the_directory_is_swept,
        a_server_that_is_killed_again_and_again_takes_nothing_else_down,
        a_directory_that_can_t_be_used_costs_runs_alone,
        a_question_in_between_holds_nothing_up,
        options_that_there_are_not_are_refused
    ].

init_per_testcase(Case, Config) ->
    Directory = filename:join(?config(priv_dir, Config), atom_to_list(Case)),
    _ = application:load(py),
    application:set_env(py, state_dir, Directory),
    ok = py_application:start([{default, pool(Config)}]),
    [{state_dir, Directory} | Config].

pool(Config) -> #{size => 2, python_path => [?config(data_dir, Config)]}.

end_per_testcase(_, _Config) ->
    Stopped = py_application:stop(),
    application:unset_env(py, state_dir),
    Stopped.

restart(Config) ->
    {ok, stopped} = py:stop(),
    ok = py_application:start([{default, pool(Config)}]).

trace(Name, Config) -> unicode:characters_to_binary(filename:join(?config(priv_dir, Config), Name)).

%% Who began, in order; and whether one that was followed by another ever gave a sign of life again.
attempts(Trace) -> {py_run_traces:begun(Trace), py_run_traces:is_apart(Trace)}.

ended(Run) ->
    {ok, #{state := State} = Info} = py_run:wait(Run, 60_000),
    {State, Info}.

nothing_is_there_before_the_first_run(Config) ->
    3 = py:add(1, 2),
    ?assertEqual(false, filelib:is_dir(?config(state_dir, Config))),
    ?assertEqual([], [Name || Name <- registered(), lists:prefix("py_run", atom_to_list(Name))]),
    {ok, _} = py_run:run(math, sqrt, [4]),
    {ok, Names} = file:list_dir(?config(state_dir, Config)),
    ?assertEqual(["journal", "lock", "runs"], lists:sort(Names)).

a_run_is_known_with_its_result_after_a_restart(Config) ->
    {ok, Run} = py_run:start(math, factorial, [5]),
    {'COMPLETED', #{transitions := Transitions, attempt := 1}} = ended(Run),
    ?assertEqual(['CREATED', 'PENDING', 'RUNNING', 'COMPLETED'], [Status || #{status := Status} <- Transitions]),
    {ok, Failed} = py_run:start(operator, truediv, [1, 0]),
    {'ERROR', _} = ended(Failed),
    Before = py_run:list(),
    restart(Config),
    ?assertEqual(Before, py_run:list()),
    ?assertEqual({ok, 120}, py_run:result(Run)),
    ?assertMatch({error, {python, 'builtins.ZeroDivisionError', _, _}}, py_run:result(Failed)).

values_of_any_size_and_kind_come_back(Config) ->
    Large = binary:copy(<<"x">>, 300_000),
    Values = [
        {echo, [1.5], 1.5}, {echo, [{bytes, <<0, 255>>}], <<0, 255>>}, {echo, [<<"tea ", 228, 184, 173>>], "tea " ++ [20013]}, {echo, [{"dict", [{"a", 1}]}], {"dict", [{"a", 1}]}},
        {echo, [{bytes, Large}], Large}, {coroutine, [7], 7}, {generated, [3], [0, 1, 2]}, {echo, [undefined], undefined}
    ],
    Runs = [begin {ok, Run} = py_run:start(run_jobs, Function, Args), {Run, Value} end || {Function, Args, Value} <- Values],
    [?assertMatch({'COMPLETED', _}, ended(Run)) || {Run, _} <- Runs],
    [?assertEqual({ok, Value}, py_run:result(Run)) || {Run, Value} <- Runs],
    restart(Config),
    [?assertEqual({ok, Value}, py_run:result(Run)) || {Run, Value} <- Runs],
    ?assertEqual({ok, 3}, py_run:run(builtins, int, [<<"11">>], #{keywords => #{base => 2}})).

what_raises_is_an_error_with_its_trace(_Config) ->
    {ok, Run} = py_run:start(run_jobs, fails_first, [<<"/dev/null">>, 9, 0]),
    {'ERROR', #{message := Message}} = ended(Run),
    ?assertEqual(<<"builtins.RuntimeError: attempt 0">>, Message),
    {error, {python, 'builtins.RuntimeError', "attempt 0", [{File, _, "fails_first", _}]}} = py_run:result(Run),
    ?assertEqual("run_jobs.py", filename:basename(File)),
    {ok, Log} = py_run:logs(Run),
    ?assertMatch({match, _}, re:run(Log, "raise RuntimeError")),
    ?assertMatch({error, {python, 'builtins.ModuleNotFoundError', _, _}}, py_run:run(no_such_module, f, [])),
    ?assertMatch({error, {python, 'builtins.SystemExit', _, _}}, py_run:run(sys, exit, [1])).

what_a_run_prints_and_logs_is_its_log(_Config) ->
    {ok, Run} = py_run:start(run_jobs, talks, [<<"mint">>]),
    {'COMPLETED', _} = ended(Run),
    {ok, Log} = py_run:logs(Run),
    [?assertNotEqual({Text, nomatch}, {Text, binary:match(Log, Text)}) || Text <- [<<"printed mint\n">>, <<"to standard error\n">>, <<"WARNING tea: logged mint\n">>, <<"from a thread\n">>]],
    %% What is printed outside of runs is nobody's log.
    undefined = py:print(<<"outside">>),
    ?assertEqual({ok, Log}, py_run:logs(Run)).

a_worker_that_dies_costs_its_run_alone(Config) ->
    Trace = trace("beside", Config),
    {ok, Beside} = py_run:start(run_jobs, traced, [Trace, 1.0, 4]),
    [
        begin
            {ok, Run} = py_run:start(run_jobs, dies, [How]),
            {'ERROR', #{message := Message, attempt := 1}} = ended(Run),
            ?assertMatch(<<"interrupted: ", _/binary>>, Message),
            ?assertMatch({error, {py, {worker_down, Why}}} when element(1, Why) =:= Kind, py_run:result(Run)),
            {ok, Log} = py_run:logs(Run),
            ?assertNotEqual(nomatch, binary:match(Log, Words))
        end
     || {How, Kind, Words} <- [{<<"exit">>, exit_status, <<"last words">>}, {<<"segv">>, signal, <<"in dies">>}, {<<"kill">>, signal, <<"last words">>}]
    ],
    ?assertMatch({'COMPLETED', _}, ended(Beside)),
    ?assertEqual({ok, 8}, py_run:result(Beside)),
    ?assertEqual({1, true}, attempts(Trace)).

retries_are_made_and_counted(Config) ->
    Trace = trace("retried", Config),
    {ok, Run} = py_run:start(run_jobs, fails_first, [Trace, 2, 7], #{retries => 5, backoff => 10}),
    {'COMPLETED', #{attempt := 3}} = ended(Run),
    ?assertEqual({ok, 7}, py_run:result(Run)),
    {ok, Never} = py_run:start(run_jobs, fails_first, [trace("never", Config), 99, 7], #{retries => 1, backoff => 10}),
    {'ERROR', #{attempt := 2}} = ended(Never),
    {ok, None} = py_run:start(run_jobs, fails_first, [trace("once", Config), 1, 7]),
    {'ERROR', #{attempt := 1}} = ended(None),
    %% By hand it is tried as often again.
    ok = py_run:retry(None),
    {'COMPLETED', #{attempt := 2}} = ended(None),
    ?assertEqual({ok, 7}, py_run:result(None)),
    ?assertEqual({error, {py, {run_state, 'COMPLETED'}}}, py_run:retry(None)).

nothing_of_an_attempt_is_left_when_the_next_begins(Config) ->
    Trace = trace("child", Config),
    {ok, Run} = py_run:start(run_jobs, leaves_a_child, [Trace], #{retries => 1, backoff => 0}),
    {'ERROR', #{attempt := 2, process := #{os_pid := Last}}} = ended(Run),
    {ok, Text} = file:read_file(Trace),
    [First, Second] = [Pid || [Pid, <<"begin">>] <- [binary:split(Line, <<" ">>) || Line <- binary:split(Text, <<"\n">>, [global, trim])]],
    ?assertEqual(integer_to_binary(Last), Second),
    %% The first child writes its last line before the second attempt its first one.
    [_, After] = binary:split(Text, <<Second/binary, " begin\n">>),
    Later = lists:usort([Pid || Line <- binary:split(After, <<"\n">>, [global, trim]), [Pid, _] <- [binary:split(Line, <<" ">>)]]),
    [Before, _] = binary:split(Text, <<Second/binary, " begin\n">>),
    Earlier = lists:usort([Pid || Line <- binary:split(Before, <<"\n">>, [global, trim]), [Pid, _] <- [binary:split(Line, <<" ">>)]]),
    ?assert(lists:member(First, Earlier)),
    ?assertEqual([], [Pid || Pid <- Later, lists:member(Pid, Earlier)]).

an_attempt_that_takes_too_long_is_over_before_the_next(Config) ->
    Trace = trace("late", Config),
    {ok, Run} = py_run:start(run_jobs, stubborn, [Trace, 30], #{timeout => 100, retries => 1, backoff => 0}),
    {'ERROR', #{attempt := 2}} = ended(Run),
    ?assertEqual({error, {py, timeout}}, py_run:result(Run)),
    ?assertEqual({2, true}, attempts(Trace)).

a_waiting_and_a_running_run_are_stopped(Config) ->
    [Trace | _] = Traces = [trace("stop" ++ integer_to_list(N), Config) || N <- lists:seq(1, 3)],
    [Running, Other, Waiting] = [begin {ok, Run} = py_run:start(run_jobs, traced, [Each, 60, 1], #{retries => 3}), Run end || Each <- Traces],
    py_eventually:holds(fun() -> element(1, attempts(Trace)) =:= 1 end),
    ok = py_run:stop(Waiting),
    ?assertMatch({ok, #{state := 'STOPPED', attempt := 0}}, py_run:get(Waiting)),
    [ok = py_run:stop(Run) || Run <- [Running, Other, Running]],
    [?assertMatch({'STOPPED', #{attempt := 1}}, ended(Run)) || Run <- [Running, Other]],
    ?assertEqual({error, {py, cancelled}}, py_run:result(Running)),
    ?assertEqual({error, {py, {run_state, 'STOPPED'}}}, py_run:stop(Running)),
    %% Nothing of it runs any more.
    {ok, Text} = file:read_file(Trace),
    {ok, _} = py_run:run(time, sleep, [0.05]),
    ?assertEqual({ok, Text}, file:read_file(Trace)).

a_second_run_with_a_key_is_the_first(Config) ->
    Trace = trace("key", Config),
    Start = fun(Options) -> py_run:start(run_jobs, traced, [Trace, 0.05, 1], Options#{key => {order, 7}}) end,
    {ok, Run} = Start(#{}),
    ?assertEqual({ok, Run}, Start(#{})),
    {'COMPLETED', _} = ended(Run),
    ?assertEqual({ok, Run}, Start(#{})),
    ?assertEqual({1, true}, attempts(Trace)),
    {ok, Other} = Start(#{project => other}),
    ?assertNotEqual(Run, Other),
    restart(Config),
    ?assertEqual({ok, Run}, Start(#{})),
    %% Many at once are one.
    Self = self(),
    Pids = [spawn_link(fun() -> {ok, One} = py_run:start(math, sqrt, [4], #{key => at_once}), Self ! {self(), One} end) || _ <- lists:seq(1, 20)],
    ?assertMatch([_], lists:usort([receive {Pid, One} -> One end || Pid <- Pids])),
    %% One that has failed blocks nobody.
    {ok, Failed} = py_run:start(run_jobs, dies, [<<"exit">>], #{key => failed}),
    {'ERROR', _} = ended(Failed),
    {ok, Next} = py_run:start(math, sqrt, [4], #{key => failed}),
    ?assertNotEqual(Failed, Next),
    ?assertMatch({'COMPLETED', _}, ended(Next)).

runs_are_listed_by_project_function_and_state(_Config) ->
    Runs = [
        begin
            {ok, Run} = py_run:start(Module, Function, Args, #{project => Project, function => Name}),
            _ = ended(Run),
            Run
        end
     || {Project, Name, Module, Function, Args} <- [
            {a, f, math, sqrt, [4]}, {a, g, math, sqrt, [4]}, {b, f, math, sqrt, [4]}, {a, f, operator, truediv, [1, 0]}
        ]
    ],
    [One, Two, Three, Four] = Runs,
    Listed = fun(Filter) -> [Id || #{id := Id} <- py_run:list(Filter)] end,
    ?assertEqual(Runs, Listed(#{})),
    ?assertEqual([One, Two, Four], Listed(#{project => a})),
    ?assertEqual([One, Four], Listed(#{project => <<"a">>, function => f})),
    ?assertEqual([One, Three, Four], Listed(#{function => f})),
    ?assertEqual([Four], Listed(#{state => 'ERROR'})),
    ?assertEqual([One], Listed(#{project => a, function => f, state => ['COMPLETED', 'STOPPED']})),
    ?assertEqual([Two, Three], Listed(#{'after' => One, limit => 2})),
    ?assertEqual([], Listed(#{project => c})),
    ?assertMatch({error, {py, {unknown_run, <<"x">>}}}, py_run:get(<<"x">>)),
    ?assertEqual({error, {py, {unknown_run, <<"x">>}}}, py_run:wait(<<"x">>)).

subscribers_are_told_each_state_in_order(_Config) ->
    ok = py_run:subscribe({project, <<"mine">>}),
    {ok, _} = py_run:run(math, sqrt, [4]),
    {ok, Run} = py_run:start(math, sqrt, [4], #{project => mine}),
    ?assertEqual(['CREATED', 'PENDING', 'RUNNING', 'COMPLETED'], [receive {py_run, Run, State, _} -> State after 10_000 -> none end || _ <- lists:seq(1, 4)]),
    ok = py_run:unsubscribe().

what_has_ended_is_pruned_with_its_files(Config) ->
    {ok, Run} = py_run:start(run_jobs, talks, [<<"x">>]),
    {'COMPLETED', _} = ended(Run),
    Files = filename:join([?config(state_dir, Config), "runs", Run]),
    ?assert(filelib:is_regular(filename:join(Files, "result")) andalso filelib:is_regular(filename:join(Files, "log"))),
    {ok, Busy} = py_run:start(run_jobs, traced, [trace("busy", Config), 60, 1]),
    ?assertEqual({ok, 1}, py_run:prune()),
    ?assertEqual({error, {py, {unknown_run, Run}}}, py_run:get(Run)),
    py_eventually:holds(fun() -> not filelib:is_dir(Files) end),
    ?assertMatch([#{id := Busy}], py_run:list()),
    ok = py_run:stop(Busy),
    {'STOPPED', _} = ended(Busy),
    restart(Config),
    ?assertMatch([#{id := Busy}], py_run:list()).

what_ends_before_the_run_is_refused(_Config) ->
    Reference = py:func(threading, 'Lock', [], #{return => ref}),
    ?assertMatch({error, {py, {encode, _}}}, py_run:start(run_jobs, echo, [[Reference]])),
    ?assertMatch({error, {python, 'erl.errors.NotPicklableError', _, _}}, py_run:run(run_jobs, unpicklable, [])),
    ok = py:release(Reference).

a_run_of_another_project_has_a_fresh_python(_Config) ->
    ok = py:remove_worker(hd([Worker || #{worker := Worker} <- py:workers()])),
    Pid = fun(Project) -> {ok, OsPid} = py_run:run(run_jobs, pid, [], #{project => Project}), OsPid end,
    First = Pid(one),
    ?assertEqual(First, Pid(one)),
    Second = Pid(two),
    ?assertNotEqual(First, Second),
    ?assertEqual(Second, Pid(two)).

the_server_is_killed_while_runs_run(Config) ->
    Runs = [begin Trace = trace("server" ++ integer_to_list(N), Config), {ok, Run} = py_run:start(run_jobs, traced, [Trace, 0.4, N]), {N, Trace, Run} end || N <- lists:seq(1, 6)],
    [{_, First, _} | _] = Runs,
    py_eventually:holds(fun() -> element(1, attempts(First)) =:= 1 end),
    exit(whereis(py_runs), kill),
    [
        begin
            ?assertMatch({'COMPLETED', #{attempt := 1}}, ended(Run)),
            ?assertEqual({ok, 2 * N}, py_run:result(Run)),
            ?assertEqual({1, true}, attempts(Trace))
        end
     || {N, Trace, Run} <- Runs
    ].

the_process_of_an_attempt_is_killed(Config) ->
    Trace = trace("attempt", Config),
    {ok, Run} = py_run:start(run_jobs, traced, [Trace, 1.5, 3], #{retries => 1, backoff => 0}),
    py_eventually:holds(fun() -> element(1, attempts(Trace)) =:= 1 end),
    {ok, Pid} = py_run_attempt:find(Run),
    exit(Pid, kill),
    ?assertMatch({'COMPLETED', _}, ended(Run)),
    ?assertMatch({Count, true} when Count =< 2, attempts(Trace)).

a_waiting_caller_has_its_answer_after_the_server_was_killed(Config) ->
    {ok, Run} = py_run:start(run_jobs, traced, [trace("waited", Config), 0.5, 3]),
    Self = self(),
    Waiter = spawn_link(fun() -> Self ! {self(), py_run:wait(Run)} end),
    ?assertEqual({error, {py, timeout}}, py_run:wait(Run, 10)),
    exit(whereis(py_runs), kill),
    receive {Waiter, Answer} -> ?assertMatch({ok, #{state := 'COMPLETED'}}, Answer) end.

runs_wait_for_a_pool_that_comes_later(Config) ->
    {ok, Run} = py_run:start(run_jobs, echo, [1], #{pool => later}),
    ?assertEqual({error, {py, timeout}}, py_run:wait(Run, 50)),
    {ok, _} = py:start_pool(later, pool(Config)),
    ?assertMatch({'COMPLETED', #{pool := <<"later">>}}, ended(Run)),
    ok = py:stop_pool(later).

a_run_in_a_python_that_was_forked_from_a_zygote(Config) ->
    {ok, _} = py:start_pool(forked, (pool(Config))#{size => 1, preload => [run_jobs]}),
    {ok, Run} = py_run:start(run_jobs, pid, [], #{pool => forked}),
    {'COMPLETED', #{process := #{os_pid := OsPid}}} = ended(Run),
    ?assertEqual({ok, OsPid}, py_run:result(Run)),
    ok = py:stop_pool(forked).

an_application_that_stops_leaves_no_run_running(Config) ->
    Trace = trace("stopped", Config),
    application:set_env(py, pools, [{default, (pool(Config))#{drain_timeout => 100}}]),
    {ok, stopped} = py:stop(),
    {ok, started} = py:start(),
    [Run, Waiting | _] = [begin {ok, Each} = py_run:start(run_jobs, traced, [Trace, 60, 1]), Each end || _ <- lists:seq(1, 4)],
    py_eventually:holds(fun() -> element(1, attempts(Trace)) >= 1 end),
    restart(Config),
    {'ERROR', #{message := <<"interrupted", _/binary>>}} = ended(Run),
    %% One that has ended meanwhile needs none.
    _ = [py_run:stop(Id) || #{id := Id} <- py_run:list(#{state => ['PENDING', 'RUNNING']})],
    ?assertMatch({State, _} when State =/= 'RUNNING', ended(Waiting)).

cut_anywhere_at_its_end_the_journal_is_read(Config) ->
    _ = [{ok, _} = py_run:run(math, sqrt, [4]) || _ <- lists:seq(1, 3)],
    Known = [Id || #{id := Id} <- py_run:list()],
    {ok, stopped} = py:stop(),
    Directory = ?config(state_dir, Config),
    Journal = filename:join(Directory, "journal"),
    {ok, Bytes} = file:read_file(Journal),
    {ok, started} = py:start(),
    [
        begin
            _ = supervisor:terminate_child(py_sup, py_runs_sup),
            ok = file:write_file(Journal, binary:part(Bytes, 0, At)),
            Listed = py_run:list(),
            ?assert(length(Listed) >= 2),
            ?assertEqual([], [Id || #{id := Id} <- Listed] -- Known),
            %% What the cut has made of the last one comes to an end.
            [?assertMatch({State, _} when State =:= 'COMPLETED'; State =:= 'ERROR', ended(Id)) || At rem 10 =:= 0, #{id := Id} <- Listed]
        end
     || At <- lists:seq(byte_size(Bytes) - 200, byte_size(Bytes), 1)
    ].

%% Each Python of the pool has few calls: most runs meet one that is on its way out.
a_python_that_is_replaced_meanwhile_runs_nothing(Config) ->
    {ok, _} = py:start_pool(few, (pool(Config))#{max_calls => 2}),
    Runs = [begin Trace = trace("few" ++ integer_to_list(N), Config), {ok, Run} = py_run:start(run_jobs, traced, [Trace, 0.01, N], #{pool => few}), {N, Trace, Run} end || N <- lists:seq(1, 12)],
    [
        begin
            ?assertMatch({'COMPLETED', #{attempt := 1}}, ended(Run)),
            ?assertEqual({{ok, 2 * N}, {1, true}}, {py_run:result(Run), attempts(Trace)})
        end
     || {N, Trace, Run} <- Runs
    ],
    ok = py:stop_pool(few).

in_threads_each_run_has_its_own_log(Config) ->
    {ok, _} = py:start_pool(threads, (pool(Config))#{size => 1, threads => 4}),
    Runs = [begin {ok, Run} = py_run:start(run_jobs, says, [N], #{pool => threads}), {N, Run} end || N <- lists:seq(1, 4)],
    [?assertMatch({'COMPLETED', _}, ended(Run)) || {_, Run} <- Runs],
    [?assertEqual({ok, binary:copy(<<"said by ", (integer_to_binary(N))/binary, "\n">>, 20)}, py_run:logs(Run)) || {N, Run} <- Runs],
    %% They ran at the same time, in one Python.
    ?assertMatch([_], lists:usort([OsPid || {_, Run} <- Runs, {ok, #{process := #{os_pid := OsPid}}} <- [py_run:get(Run)]])),
    ok = py:stop_pool(threads).

a_child_that_returns_from_the_function_is_not_the_attempt(_Config) ->
    {ok, Run} = py_run:start(run_jobs, forks_and_returns, []),
    {'COMPLETED', #{process := #{os_pid := OsPid}}} = ended(Run),
    ?assertEqual({ok, OsPid}, py_run:result(Run)).

what_runs_leave_in_the_directory_is_swept(Config) ->
    {ok, _} = py_run:run(math, sqrt, [4]),
    Runs = filename:join(?config(state_dir, Config), "runs"),
    Left = filename:join(Runs, lists:duplicate(32, $0)),
    Other = filename:join(Runs, "somebody's"),
    ok = file:make_dir(Left),
    ok = file:make_dir(Other),
    restart(Config),
    [_] = py_run:list(),
    py_eventually:holds(fun() -> not filelib:is_dir(Left) end),
    ?assert(filelib:is_dir(Other)).

a_server_that_is_killed_again_and_again_takes_nothing_else_down(_Config) ->
    {ok, Run} = py_run:start(math, sqrt, [4]),
    {'COMPLETED', _} = ended(Run),
    Sup = whereis(py_sup),
    Kill = fun() ->
        py_eventually:holds(fun() -> is_pid(whereis(py_runs)) orelse whereis(py_runs_sup) =:= undefined end),
        _ = catch exit(whereis(py_runs), kill)
    end,
    [Kill() || _ <- lists:seq(1, 12)],
    ?assertEqual(Sup, whereis(py_sup)),
    ?assertEqual(3, py:add(1, 2)),
    py_eventually:holds(fun() -> py_run:result(Run) =:= {ok, 2.0} end),
    ?assertMatch({ok, 3.0}, py_run:run(math, sqrt, [9])).

%% What was noted before it is written, though nothing comes behind it.
a_question_in_between_holds_nothing_up(_Config) ->
    {ok, _} = py_run:run(math, sqrt, [4]),
    ok = sys:suspend(py_runs),
    Self = self(),
    Pid = spawn_link(fun() -> Self ! {self(), py_run:start(math, sqrt, [9])} end),
    py_eventually:holds(fun() -> element(2, process_info(whereis(py_runs), message_queue_len)) > 0 end),
    Asked = gen_server:send_request(py_runs, info),
    ok = sys:resume(py_runs),
    {reply, #{disk := ok}} = gen_server:wait_response(Asked, 10_000),
    receive {Pid, {ok, Run}} -> ?assertMatch({'COMPLETED', _}, ended(Run)) end.

a_directory_that_can_t_be_used_costs_runs_alone(Config) ->
    {ok, _} = py_run:run(math, sqrt, [4]),
    {ok, stopped} = py:stop(),
    Journal = filename:join(?config(state_dir, Config), "journal"),
    {ok, Bytes} = file:read_file(Journal),
    ok = file:write_file(Journal, "py journal 9\n"),
    ok = py_application:start([{default, pool(Config)}]),
    {error, {py, {state_dir, _, Text}}} = py_run:list(),
    ?assertNotEqual(nomatch, string:find(Text, "version")),
    ?assertEqual(3, py:add(1, 2)),
    ok = file:write_file(Journal, Bytes),
    ?assertMatch([#{state := 'COMPLETED'}], py_run:list()),
    ?assertEqual([], [Name || Name <- registered(), lists:prefix("py_run", atom_to_list(Name)), Name =/= py_runs, Name =/= py_runs_sup]).

options_that_there_are_not_are_refused(_Config) ->
    [
        ?assertError(badarg, py_run:start(math, sqrt, [4], Options))
     || Options <- [#{retry => 1}, #{retries => -1}, #{retries => 1001}, #{backoff => {2, 1}}, #{timeout => -1}, #{project => ""}, #{key => binary:copy(<<"x">>, 2_000)}, []]
    ],
    ?assertError(badarg, py_run:start("math", sqrt, [4])),
    ?assertError(badarg, py_run:start(math, sqrt, 4)),
    ?assertError(badarg, py_run:list(#{state => 'DONE'})).
