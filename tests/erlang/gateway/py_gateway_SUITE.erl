%%% Drivers at a gateway: their tasks, functions, pools, texts, records and files; what bounds one that does not read, and whose end ends what.
-module(py_gateway_SUITE).

-include_lib("common_test/include/ct.hrl").
-include_lib("stdlib/include/assert.hrl").

-export([suite/0, all/0, init_per_testcase/2, end_per_testcase/2]).
-export([
    a_driver_is_told_what_there_is/1,
    a_task_is_answered_with_the_workers_frame/1,
    what_fails_is_failed_with_a_reason_and_a_text/1,
    each_task_of_many_is_answered_once/1,
    no_short_task_waits_for_a_long_one/1,
    another_driver_waits_for_few_of_many_tasks/1,
    a_deadline_is_kept_and_the_worker_is_free/1,
    a_cancelled_task_ends_and_one_that_waits_never_begins/1,
    what_waits_can_be_dropped_and_what_runs_can_not/1,
    what_one_read_brings_is_done_in_its_order/1,
    a_dead_worker_costs_the_task_that_ran/1,
    erlang_functions_run_beside_each_other_and_end_with_their_driver/1,
    messages_come_in_order_and_fill_no_queue/1,
    what_a_task_prints_comes_before_its_answer/1,
    a_driver_that_does_not_read_slows_printing_and_nothing_else/1,
    records_are_the_drivers_and_a_flood_is_counted/1,
    a_driver_that_does_not_read_keeps_deadlines_and_memory/1,
    a_driver_that_reads_gets_all_of_many_large_answers/1,
    functions_wait_for_a_driver_that_does_not_read/1,
    files_of_results_are_the_drivers_until_it_lets_go/1,
    files_of_a_driver_go_with_it/1,
    a_driver_that_holds_its_quota_waits/1,
    a_driver_that_ends_cancels_what_it_has_open/1,
    pools_of_a_driver_end_with_it/1,
    changes_of_pools_are_told/1,
    roles_are_kept/1,
    a_token_is_good_for_one_connection/1,
    so_many_are_connected_and_no_more/1,
    a_gateway_that_is_stopped_ends_its_drivers/1,
    a_gateway_that_dies_is_started_again/1,
    the_application_opens_the_gateways_of_its_environment/1,
    the_processes_of_a_connection_end_together/1
]).

suite() -> [{timetrap, {minutes, 5}}].

all() ->
    [
        a_driver_is_told_what_there_is,
        a_task_is_answered_with_the_workers_frame,
        what_fails_is_failed_with_a_reason_and_a_text,
        each_task_of_many_is_answered_once,
        no_short_task_waits_for_a_long_one,
        another_driver_waits_for_few_of_many_tasks,
        a_deadline_is_kept_and_the_worker_is_free,
        a_cancelled_task_ends_and_one_that_waits_never_begins,
        what_waits_can_be_dropped_and_what_runs_can_not,
        what_one_read_brings_is_done_in_its_order,
        a_dead_worker_costs_the_task_that_ran,
        erlang_functions_run_beside_each_other_and_end_with_their_driver,
        messages_come_in_order_and_fill_no_queue,
        what_a_task_prints_comes_before_its_answer,
        a_driver_that_does_not_read_slows_printing_and_nothing_else,
        records_are_the_drivers_and_a_flood_is_counted,
        a_driver_that_does_not_read_keeps_deadlines_and_memory,
        a_driver_that_reads_gets_all_of_many_large_answers,
        functions_wait_for_a_driver_that_does_not_read,
        files_of_results_are_the_drivers_until_it_lets_go,
        files_of_a_driver_go_with_it,
        a_driver_that_holds_its_quota_waits,
        a_driver_that_ends_cancels_what_it_has_open,
        pools_of_a_driver_end_with_it,
        changes_of_pools_are_told,
        roles_are_kept,
        a_token_is_good_for_one_connection,
        so_many_are_connected_and_no_more,
        a_gateway_that_is_stopped_ends_its_drivers,
        a_gateway_that_dies_is_started_again,
        the_application_opens_the_gateways_of_its_environment,
        the_processes_of_a_connection_end_together
    ].

init_per_testcase(Case, Config) ->
    Directory = py_driver:directory(),
    Path = filename:join(Directory, "node.sock"),
    Pool = #{size => 2, python_path => [?config(data_dir, Config)], print_timeout => 20_000},
    _ = application:load(py),
    case Case of
        the_application_opens_the_gateways_of_its_environment ->
            application:set_env(py, gateway, #{path => Path});
        a_driver_that_holds_its_quota_waits ->
            application:set_env(py, max_shared_bytes, 500_000);
        _ ->
            ok
    end,
    py_application:start([{default, Pool}]),
    case Case of
        the_application_opens_the_gateways_of_its_environment -> ok;
        _ -> {ok, Path} = py:start_gateway(#{path => Path})
    end,
    [{directory, Directory}, {path, Path} | Config].

end_per_testcase(_Case, Config) ->
    Stopped = py_application:stop(),
    application:unset_env(py, gateway),
    application:unset_env(py, max_shared_bytes),
    Left = filelib:wildcard(filename:join(?config(directory, Config), "{*,.*}")) -- ["."],
    ok = file:del_dir_r(?config(directory, Config)),
    case Left of
        [] -> Stopped;
        _ -> {fail, {files_left, Left}}
    end.

%%% Tasks

a_driver_is_told_what_there_is(Config) ->
    {Info, Driver} = py_driver:connect(?config(path, Config), #{role => driver, os_pid => 1, python => {3, 11}}),
    OsPid = list_to_integer(os:getpid()),
    #{node := Node, os_pid := OsPid, role := driver, key := Key, connection := Connection, pools := #{default := Pool}} = Info,
    ?assertEqual({node(), 32}, {Node, byte_size(Key)}),
    #{size := 2, workers := Workers, python := {3, _}, sandbox := none} = Pool,
    ?assertEqual(lists:sort([Worker || #{worker := Worker} <- py:workers()]), lists:sort(Workers)),
    #{packet_bytes := _, open_tasks := _, open_bytes := _, shared := #{directory := _, maker := _, max_bytes := _, node := _}} = Info,
    ?assertEqual([Connection], py_driver:connected()),
    py_driver:send(Driver, {status, 1}),
    {result, 1, #{connections := 1, pools := #{default := #{workers := [#{state := serving}, _]}}}} = py_driver:answer(Driver, 1),
    py_driver:close(Driver).

a_task_is_answered_with_the_workers_frame(Config) ->
    Driver = driver(Config),
    submit(Driver, 0, math, sqrt, [2]),
    ?assertMatch({done, trusted, {r, _, 1.4142135623730951}}, py_driver:answer(Driver, 0)),
    submit(Driver, 1 bsl 40, math, sqrt, [-1]),
    ?assertMatch({done, trusted, {e, _, {python, 'builtins.ValueError', _, _}}}, py_driver:answer(Driver, 1 bsl 40)),
    Workers = [_, _] = [Worker || #{worker := Worker} <- py:workers()],
    [
        begin
            submit(Driver, 7, py_tasks, pid, [], #{worker => Worker}),
            {done, trusted, {r, _, OsPid}} = py_driver:answer(Driver, 7),
            ?assertMatch([_], [1 || #{worker := W, os_pid := P} <- py:workers(), W =:= Worker, P =:= OsPid])
        end
     || Worker <- Workers
    ],
    py_driver:close(Driver).

what_fails_is_failed_with_a_reason_and_a_text(Config) ->
    Driver = driver(Config),
    submit(Driver, 1, math, sqrt, [2], #{pool => nowhere}),
    ?assertMatch({failed, 1, {unknown_pool, nowhere}, <<"there is no pool", _/binary>>}, py_driver:answer(Driver, 1)),
    submit(Driver, 2, math, sqrt, [2], #{worker => self()}),
    ?assertMatch({failed, 2, {unknown_worker, _}, _}, py_driver:answer(Driver, 2)),
    submit(Driver, 3, math, sqrt, [2], #{tea => green}),
    ?assertMatch({failed, 3, {link, _}, <<"a route has pool", _/binary>>}, py_driver:answer(Driver, 3)),
    submit(Driver, 4, math, sqrt, [2], #{timeout => soon}),
    ?assertMatch({failed, 4, {link, _}, _}, py_driver:answer(Driver, 4)),
    submit(Driver, 5, py_tasks, leave, []),
    ?assertMatch({failed, 5, {worker_down, {exit_status, 7, _}}, <<"the worker's Python ended", _/binary>>}, py_driver:answer(Driver, 5)),
    py_driver:close(Driver).

each_task_of_many_is_answered_once(Config) ->
    Driver = driver(Config),
    Ids = lists:seq(1, 2_000),
    _ = spawn_link(fun() -> [submit(Driver, Id, math, sqrt, [Id]) || Id <- Ids] end),
    ?assertEqual([{Id, done} || Id <- Ids], lists:sort(py_driver:answers(Driver, length(Ids)))),
    ?assertEqual(timeout, py_driver:next(Driver, 100)),
    py_driver:close(Driver).

%% The others are done while it runs, however slow the machine is.
no_short_task_waits_for_a_long_one(Config) ->
    Driver = driver(Config),
    submit(Driver, 0, time, sleep, [10]),
    [submit(Driver, Id, math, sqrt, [Id]) || Id <- lists:seq(1, 1_400)],
    Answers = py_driver:answers(Driver, 1_400),
    ?assertEqual([{Id, done} || Id <- lists:seq(1, 1_400)], lists:sort(Answers)),
    py_driver:send(Driver, {cancel, 0}),
    ?assertEqual([{0, cancelled}], py_driver:answers(Driver, 1)),
    py_driver:close(Driver).

%% 400 tasks of 5 ms are a second of two workers. Five calls of another driver, one after the other, are over before half of them is.
another_driver_waits_for_few_of_many_tasks(Config) ->
    Driver = driver(Config),
    Other = driver(Config),
    [submit(Driver, Id, time, sleep, [0.005]) || Id <- lists:seq(1, 400)],
    py_driver:answers(Driver, 20),
    Calls = [
        begin
            submit(Other, Id, math, sqrt, [4]),
            {done, _, _} = py_driver:answer(Other, Id)
        end
     || Id <- lists:seq(1, 5)
    ],
    ?assertEqual(5, length(Calls)),
    %% What has been done of the first one's meanwhile.
    Left = [Id || Id <- lists:seq(1, 400), begin py_driver:send(Driver, {cancel, Id}), true end],
    Answers = py_driver:answers(Driver, length(Left) - 20),
    Done = length([1 || {_, done} <- Answers]),
    ?assert(Done < 200, Done),
    py_driver:close(Driver),
    py_driver:close(Other).

a_deadline_is_kept_and_the_worker_is_free(Config) ->
    Driver = driver(Config),
    [submit(Driver, Id, time, sleep, [60], #{timeout => 300}) || Id <- lists:seq(1, 20)],
    ?assertEqual([{Id, timeout} || Id <- lists:seq(1, 20)], lists:sort(py_driver:answers(Driver, 20))),
    submit(Driver, 21, math, sqrt, [4]),
    ?assertMatch({done, trusted, {r, _, 2.0}}, py_driver:answer(Driver, 21)),
    py_driver:close(Driver).

a_cancelled_task_ends_and_one_that_waits_never_begins(Config) ->
    File = filename:join(?config(priv_dir, Config), "begun"),
    Driver = driver(Config),
    Ids = lists:seq(1, 60),
    [submit(Driver, Id, py_tasks, noted, [list_to_binary(File), 60]) || Id <- Ids],
    py_eventually:equals({ok, <<"xx">>}, fun() -> file:read_file(File) end),
    [py_driver:send(Driver, {cancel, Id}) || Id <- lists:reverse(Ids)],
    ?assertEqual([{Id, cancelled} || Id <- Ids], lists:sort(py_driver:answers(Driver, 60))),
    py_eventually:equals([0, 0], fun() -> [Calls || #{in_flight := Calls} <- py:workers()] end),
    ?assertEqual({ok, <<"xx">>}, file:read_file(File)),
    %% Of what is over nothing is said.
    py_driver:send(Driver, {cancel, 1}),
    py_driver:send(Driver, {drop, 1}),
    ?assertEqual(timeout, py_driver:next(Driver, 200)),
    ok = file:delete(File),
    py_driver:close(Driver).

what_waits_can_be_dropped_and_what_runs_can_not(Config) ->
    File = filename:join(?config(priv_dir, Config), "dropped"),
    Driver = driver(Config),
    [submit(Driver, Id, py_tasks, noted, [list_to_binary(File), 1]) || Id <- lists:seq(1, 30)],
    py_eventually:equals({ok, <<"xx">>}, fun() -> file:read_file(File) end),
    [py_driver:send(Driver, {drop, Id}) || Id <- [30, 1]],
    ?assertEqual({dropped, 30}, py_driver:answer(Driver, 30)),
    ?assertEqual({begun, 1}, py_driver:answer(Driver, 1)),
    [py_driver:send(Driver, {cancel, Id}) || Id <- lists:seq(1, 30)],
    ?assertEqual(29, length(py_driver:answers(Driver, 29))),
    ok = file:delete(File),
    py_driver:close(Driver).

%% As a driver spells it: an id in four bytes.
what_one_read_brings_is_done_in_its_order(Config) ->
    Driver = driver(Config),
    [submit(Driver, Id, time, sleep, [60]) || Id <- [1, 2]],
    Body = py_driver:body(math, sqrt, [4]),
    Task = fun(Id, Route) ->
        <<131, Spelled/binary>> = term_to_binary(Route),
        framed([<<131, 104, 4, 100, 6:16, "submit", 98, Id:32>>, Spelled, <<109, (byte_size(Body)):32>>, Body])
    end,
    Message = fun(Term) -> framed(term_to_binary(Term)) end,
    Other = #{pool => default, timeout => 60_000},
    py_driver:bytes(Driver, [
        [Task(Id, #{}) || Id <- lists:seq(300, 305)], Message({cancel, 300}), Message({drop, 305}), [Task(Id, Other) || Id <- [306, 307]],
        Message({drop, 306}), Task(308, #{pool => nowhere}), Task(309, Other), Message({cancel, 301}), [Message({cancel, Id}) || Id <- [1, 2]]
    ]),
    ?assertEqual(
        [
            {1, cancelled}, {2, cancelled}, {300, cancelled}, {301, cancelled}, {302, done}, {303, done}, {304, done}, {305, dropped},
            {306, dropped}, {307, done}, {308, {unknown_pool, nowhere}}, {309, done}
        ],
        lists:sort(said(Driver, 12))
    ),
    py_driver:close(Driver).

said(_Driver, 0) ->
    [];
said(Driver, Count) ->
    case py_driver:next(Driver) of
        {done, Id, _, _} -> [{Id, done} | said(Driver, Count - 1)];
        {failed, Id, Reason, _} -> [{Id, Reason} | said(Driver, Count - 1)];
        {dropped, Id} -> [{Id, dropped} | said(Driver, Count - 1)];
        Other when is_tuple(Other) -> said(Driver, Count)
    end.

framed(Bytes) -> [<<(iolist_size(Bytes)):32>>, Bytes].

a_dead_worker_costs_the_task_that_ran(Config) ->
    Driver = driver(Config),
    [submit(Driver, Id, time, sleep, [0.2]) || Id <- lists:seq(1, 12)],
    submit(Driver, 13, py_tasks, leave, []),
    [submit(Driver, Id, math, sqrt, [Id]) || Id <- lists:seq(14, 100)],
    Answers = lists:sort(py_driver:answers(Driver, 100)),
    ?assertMatch([{13, {worker_down, _}}], [Answer || {_, How} = Answer <- Answers, How =/= done]),
    py_driver:close(Driver).

%%% Functions

erlang_functions_run_beside_each_other_and_end_with_their_driver(Config) ->
    Driver = driver(Config),
    [py_driver:send(Driver, {call, Id, timer, sleep, [60_000]}) || Id <- lists:seq(1, 20)],
    py_driver:send(Driver, {call, 21, lists, sum, [[1, 2, 3]]}),
    ?assertEqual({result, 21, 6}, py_driver:answer(Driver, 21)),
    py_driver:send(Driver, {call, 22, erlang, error, [tea]}),
    ?assertMatch({raised, 22, error, tea, [_ | _]}, py_driver:answer(Driver, 22)),
    py_driver:send(Driver, {call, 23, erlang, apply, [fun() -> exit(self(), kill) end, []]}),
    ?assertMatch({raised, 23, exit, killed, []}, py_driver:answer(Driver, 23)),
    py_driver:send(Driver, {cancel, 1}),
    ?assertMatch({failed, 1, cancelled, _}, py_driver:answer(Driver, 1)),
    Sleepers = fun() -> length([Pid || Pid <- processes(), {current_function, {timer, sleep, 1}} <- [process_info(Pid, current_function)]]) end,
    ?assertEqual(19, Sleepers()),
    py_driver:close(Driver),
    py_eventually:equals(0, Sleepers).

messages_come_in_order_and_fill_no_queue(Config) ->
    Driver = driver(Config),
    Count = 100_000,
    {Busy, _} = spawn_monitor(fun() -> receive go -> ok end, exit({ordered, ordered(1, Count)}) end),
    true = register(py_gateway_busy, Busy),
    Sender = spawn_link(fun() ->
        [py_driver:send(Driver, {cast, case N rem 2 of 0 -> Busy; 1 -> py_gateway_busy end, N}) || N <- lists:seq(1, Count)],
        py_driver:send(Driver, {call, 1, erlang, node, []}),
        receive stop -> ok end
    end),
    %% It is waited for: the length stays what it is.
    Queue = fun() -> element(2, process_info(Busy, message_queue_len)) end,
    py_eventually:holds(fun() -> Queue() > 10_000 end),
    receive after 500 -> ok end,
    ?assert(Queue() < 30_000, Queue()),
    Busy ! go,
    ?assertEqual({result, 1, node()}, py_driver:answer(Driver, 1)),
    receive {'DOWN', _, process, Busy, Ended} -> ?assertEqual({ordered, true}, Ended) end,
    %% Nobody's name is no matter.
    py_driver:send(Driver, {cast, py_gateway_busy, tea}),
    py_driver:send(Driver, {call, 2, erlang, node, []}),
    ?assertEqual({result, 2, node()}, py_driver:answer(Driver, 2)),
    Sender ! stop,
    py_driver:close(Driver).

ordered(N, Count) when N > Count -> true;
ordered(N, Count) ->
    receive
        Message when is_integer(Message) -> Message =:= N andalso ordered(N + 1, Count)
    after 20_000 -> {missing, N}
    end.

%%% Texts and records

what_a_task_prints_comes_before_its_answer(Config) ->
    Driver = driver(Config),
    submit(Driver, 1, py_tasks, talk, [3, <<"grüezi"/utf8>>]),
    ?assertEqual({<<"grüezi\ngrüezi\ngrüezi\n"/utf8>>, 3}, said(Driver, 1, <<>>)),
    py_driver:send(Driver, {call, 2, io, format, ["~ts~p~n", ["ü", tea]]}),
    ?assertEqual({<<"ütea\n"/utf8>>, ok}, said(Driver, 2, <<>>)),
    py_driver:send(Driver, {call, 3, io, get_line, [""]}),
    ?assertMatch({result, 3, {error, _}}, py_driver:answer(Driver, 3)),
    py_driver:close(Driver).

said(Driver, Id, Before) ->
    case py_driver:next(Driver) of
        {print, Text} -> said(Driver, Id, <<Before/binary, Text/binary>>);
        {done, Id, trusted, Frame} -> {r, _, Value} = binary_to_term(Frame), {Before, Value};
        {result, Id, Value} -> {Before, Value}
    end.

%% 40 MB, where a megabyte is unwritten at the most, and each Python keeps to its credit.
a_driver_that_does_not_read_slows_printing_and_nothing_else(Config) ->
    Driver = driver(Config),
    Line = binary:copy(<<"x">>, 9_999),
    {ok, Growth} = py_beam:growth(fun() ->
        submit(Driver, 1, py_tasks, talk, [4_000, Line]),
        Other = driver(Config),
        [begin submit(Other, Id, math, sqrt, [4]), {done, _, _} = py_driver:answer(Other, Id) end || Id <- lists:seq(1, 500)],
        py_driver:close(Other)
    end),
    ?assert(Growth < 20_000_000, Growth),
    {Text, 4_000} = said(Driver, 1, <<>>),
    ?assertEqual(nomatch, re:run(Text, "[^x\n].*", [{capture, first, binary}])),
    ?assertEqual(40_000_000, byte_size(Text)),
    py_driver:close(Driver).

records_are_the_drivers_and_a_flood_is_counted(Config) ->
    Driver = driver(Config),
    Other = driver(Config),
    submit(Driver, 1, py_tasks, log, [<<"hot ü"/utf8>>]),
    {log, warning, <<"hot ü"/utf8>>, #{logger := <<"tea">>, file := File, line := Line, time := _}} = py_driver:next(Driver),
    ?assertEqual(<<"py_tasks.py">>, filename:basename(File)),
    ?assert(is_integer(Line)),
    ?assertMatch({done, 1, _, _}, py_driver:next(Driver)),
    submit(Driver, 2, py_tasks, shout, [20_000]),
    %% It reads nothing until the task is over.
    py_eventually:equals([0, 0], fun() -> [Calls || #{in_flight := Calls} <- py:workers()] end, 60_000),
    {Records, Dropped} = records(Driver, 2, 0, 0),
    py_driver:send(Driver, {call, 3, logger, warning, ["last"]}),
    {log, warning, _, Meta} = record(Driver),
    ?assertEqual(20_000, Records + Dropped + maps:get(dropped, Meta, 0)),
    ?assertEqual(timeout, py_driver:next(Other, 0)),
    py_driver:close(Driver),
    py_driver:close(Other).

record(Driver) ->
    case py_driver:next(Driver) of
        {log, _, _, _} = Record -> Record;
        _ -> record(Driver)
    end.

%% Records that are on their way in other processes come after the answer.
records(Driver, Id, Count, Dropped) ->
    case py_driver:next(Driver, 2_000) of
        {log, _, _, Meta} -> records(Driver, Id, Count + 1, Dropped + maps:get(dropped, Meta, 0));
        {done, Id, _, _} -> records(Driver, Id, Count, Dropped);
        timeout -> {Count, Dropped}
    end.

%%% A driver that does not read

a_driver_that_does_not_read_keeps_deadlines_and_memory(Config) ->
    Driver = driver(Config),
    Ids = lists:seq(1, 600),
    {ok, Growth} = py_beam:growth(fun() ->
        [submit(Driver, Id, py_tasks, megabyte, [], #{timeout => 1_000}) || Id <- Ids],
        submit(Driver, 601, time, sleep, [60], #{timeout => 1_500, worker => maps:get(worker, hd(py:workers()))}),
        %% All are over, though nobody has read a byte.
        py_eventually:equals([0, 0], fun() -> [Calls || #{in_flight := Calls} <- py:workers()] end),
        Begun = begun(),
        Other = driver(Config),
        submit(Other, 1, math, sqrt, [4]),
        {done, _, _} = py_driver:answer(Other, 1),
        receive after 2_000 -> ok end,
        ?assertEqual(Begun + 1, begun()),
        py_driver:close(Other)
    end),
    ?assert(Growth < 50_000_000, Growth),
    Answers = lists:sort(py_driver:answers(Driver, 601)),
    ?assertEqual(Ids ++ [601], [Id || {Id, _} <- Answers]),
    ?assertEqual([done, timeout], lists:usort([How || {_, How} <- Answers])),
    Done = length([1 || {_, done} <- Answers]),
    ?assert(Done < 60, Done),
    py_driver:close(Driver).

begun() -> lists:sum([Calls || #{calls := Calls} <- py:workers()]).

a_driver_that_reads_gets_all_of_many_large_answers(Config) ->
    Driver = driver(Config),
    Ids = lists:seq(1, 300),
    {Answers, Growth} = py_beam:growth(fun() ->
        [submit(Driver, Id, py_tasks, megabyte, []) || Id <- Ids],
        py_driver:answers(Driver, 300)
    end),
    ?assertEqual([{Id, done} || Id <- Ids], lists:sort(Answers)),
    ?assert(Growth < 60_000_000, Growth),
    py_driver:close(Driver).

functions_wait_for_a_driver_that_does_not_read(Config) ->
    Driver = driver(Config),
    Ids = lists:seq(1, 400),
    {ok, Growth} = py_beam:growth(fun() ->
        [py_driver:send(Driver, {call, Id, binary, copy, [<<"x">>, 1_000_000]}) || Id <- Ids],
        receive after 1_000 -> ok end
    end),
    ?assert(Growth < 100_000_000, Growth),
    [?assertMatch({result, Id, <<_:1_000_000/binary>>}, py_driver:answer(Driver, Id)) || Id <- [1]],
    py_driver:close(Driver).

%%% Shared memory

files_of_results_are_the_drivers_until_it_lets_go(Config) ->
    Driver = driver(Config),
    submit(Driver, 1, py_tasks, large, []),
    {done, trusted, {r, _, {'$py.shm', {_, Name, {0, 100_000}, bytes}} = Shm}} = py_driver:answer(Driver, 1),
    ?assertMatch(#{files := 1}, py:shared_memory()),
    submit(Driver, 2, py_tasks, size_of, [Shm]),
    {done, trusted, {r, _, 100_000}} = py_driver:answer(Driver, 2),
    py_driver:send(Driver, {release, [<<"no file">>, Name]}),
    py_eventually:equals(0, fun() -> maps:get(files, py:shared_memory()) end),
    submit(Driver, 3, py_tasks, large, []),
    {done, _, _} = py_driver:answer(Driver, 3),
    ?assertMatch(#{files := 1}, py:shared_memory()),
    py_driver:close(Driver),
    py_eventually:equals(0, fun() -> maps:get(files, py:shared_memory()) end).

files_of_a_driver_go_with_it(Config) ->
    {#{shared := #{directory := Directory, maker := Maker, node := Node}}, Driver} = py_driver:connect(?config(path, Config), #{}),
    Name = <<Maker/binary, "-1-5">>,
    ok = file:write_file(filename:join(Directory, Name), <<"green">>),
    submit(Driver, 1, py_tasks, size_of, [{'$py.shm', {Node, Name, {0, 5}, bytes}}]),
    {done, trusted, {r, _, 5}} = py_driver:answer(Driver, 1),
    ?assertMatch(#{files := 1, bytes := 5}, py:shared_memory()),
    py_driver:close(Driver),
    py_eventually:equals(0, fun() -> maps:get(files, py:shared_memory()) end).

%% 500,000 bytes are there, half of them for one driver.
a_driver_that_holds_its_quota_waits(Config) ->
    Driver = driver(Config),
    Names = [
        begin
            submit(Driver, Id, py_tasks, large, []),
            {done, trusted, {r, _, {'$py.shm', {_, Name, _, _}}}} = py_driver:answer(Driver, Id),
            Name
        end
     || Id <- [1, 2, 3]
    ],
    submit(Driver, 4, math, sqrt, [4], #{timeout => 300}),
    ?assertMatch({failed, 4, timeout, _}, py_driver:answer(Driver, 4)),
    submit(Driver, 5, math, sqrt, [4]),
    ?assertEqual(timeout, py_driver:next(Driver, 300)),
    py_driver:send(Driver, {release, Names}),
    ?assertMatch({done, _, _}, py_driver:answer(Driver, 5)),
    py_driver:close(Driver).

%%% Ends

a_driver_that_ends_cancels_what_it_has_open(Config) ->
    File = filename:join(?config(priv_dir, Config), "open"),
    Driver = driver(Config),
    [submit(Driver, Id, py_tasks, noted, [list_to_binary(File), 60]) || Id <- lists:seq(1, 30)],
    py_driver:send(Driver, {call, 31, timer, sleep, [infinity]}),
    py_eventually:equals({ok, <<"xx">>}, fun() -> file:read_file(File) end),
    py_driver:close(Driver),
    py_eventually:equals([0, 0], fun() -> [Calls || #{in_flight := Calls} <- py:workers()] end),
    py_eventually:equals([], fun py_driver:connected/0),
    ?assertEqual({ok, <<"xx">>}, file:read_file(File)),
    ok = file:delete(File),
    ?assertEqual(4.0, py:func(math, pow, [2, 2])).

pools_of_a_driver_end_with_it(Config) ->
    Driver = driver(Config),
    py_driver:send(Driver, {start_pool, 1, #{<<"size">> => 1, <<"strings">> => <<"binary">>, <<"env">> => #{<<"TEA">> => <<"green">>}, <<"call_timeout">> => <<"infinity">>}}),
    {result, 1, First} = py_driver:answer(Driver, 1),
    submit(Driver, 2, os, getenv, [<<"TEA">>], #{pool => First}),
    ?assertMatch({done, trusted, {r, _, "green"}}, py_driver:answer(Driver, 2)),
    py_driver:send(Driver, {start_pool, 3, #{size => 1}}),
    {result, 3, Second} = py_driver:answer(Driver, 3),
    py_driver:send(Driver, {stop_pool, 4, First}),
    {result, 4, ok} = py_driver:answer(Driver, 4),
    ?assertEqual([default, Second], lists:usort([Pool || #{pool := Pool} <- py:workers()])),
    %% Its name is free again.
    py_driver:send(Driver, {start_pool, 5, #{size => 1}}),
    ?assertEqual({result, 5, First}, py_driver:answer(Driver, 5)),
    py_driver:send(Driver, {start_pool, 6, #{<<"sise">> => 1}}),
    ?assertMatch({failed, 6, {link, _}, <<"unknown option", _/binary>>}, py_driver:answer(Driver, 6)),
    py_driver:send(Driver, {start_pool, 7, #{size => 1, python => <<"/no/python">>}}),
    ?assertMatch({failed, 7, {start, _, _}, _}, py_driver:answer(Driver, 7)),
    py_driver:send(Driver, {stop_pool, 8, default}),
    ?assertMatch({failed, 8, {unknown_pool, default}, _}, py_driver:answer(Driver, 8)),
    py_driver:close(Driver),
    py_eventually:equals([default], fun() -> lists:usort([Pool || #{pool := Pool} <- py:workers()]) end).

changes_of_pools_are_told(Config) ->
    Driver = driver(Config),
    {ok, _} = py:start_pool(tea, #{size => 1}),
    ?assertMatch({pools, #{tea := #{size := 1, workers := [_], python := {3, _}}}}, until(Driver, fun({pools, #{tea := #{size := Size}}}) -> Size =:= 1; (_) -> false end)),
    ok = py:resize(tea, 2),
    ?assertMatch({pools, #{tea := #{workers := [_, _]}}}, until(Driver, fun({pools, #{tea := #{size := Size}}}) -> Size =:= 2; (_) -> false end)),
    ok = py:stop_pool(tea),
    ?assertMatch({pools, #{default := _}}, until(Driver, fun({pools, Pools}) -> not is_map_key(tea, Pools) end)),
    py_driver:close(Driver).

until(Driver, Condition) ->
    Message = py_driver:next(Driver),
    case Condition(Message) of
        true -> Message;
        false -> until(Driver, Condition)
    end.

the_processes_of_a_connection_end_together(Config) ->
    [
        begin
            {#{connection := Connection}, Driver} = py_driver:connect(?config(path, Config), #{}),
            {links, Links} = process_info(Connection, links),
            [Gateway] = [Pid || {Pid, _} <- [{P, 1} || {_, P, _, _} <- supervisor:which_children(py_gateway_sup)]],
            Processes = [Connection | [Pid || Pid <- Links, is_pid(Pid), Pid =/= Gateway]],
            ?assertEqual(3, length(Processes)),
            exit(lists:nth(Which, Processes), kill),
            py_eventually:equals([], fun() -> [Pid || Pid <- Processes, is_process_alive(Pid)] end),
            ?assert(py_driver:is_closed(Driver)),
            ?assert(is_process_alive(Gateway))
        end
     || Which <- [1, 2, 3]
    ].

%%% Who connects

roles_are_kept(Config) ->
    Path = filename:join(?config(directory, Config), "observer.sock"),
    {ok, Path} = py:start_gateway(#{path => Path, role => observer}),
    ?assertMatch({refused, {role, observer}, _}, py_driver:hello(py_driver:connect(Path), #{role => driver})),
    {Info, Observer} = py_driver:connect(Path, #{}),
    ?assertMatch(#{role := observer, pools := #{default := _}}, Info),
    ?assertEqual([], [Key || Key <- [key, shared], is_map_key(Key, Info)]),
    py_driver:send(Observer, {status, 1}),
    {result, 1, _} = py_driver:answer(Observer, 1),
    Of = fun(Role, Message) ->
        {_, Driver} = py_driver:connect(?config(path, Config), #{role => Role}),
        py_driver:send(Driver, Message),
        {Driver, py_driver:next(Driver)}
    end,
    Forbidden = [{call, 1, erlang, node, []}, {cast, self(), tea}, {release, []}, {start_pool, 1, #{}}, {stop, 1}],
    [
        begin
            {Driver, Said} = Of(Role, Message),
            ?assertMatch({refused, bad_message, _}, Said),
            ?assert(py_driver:is_closed(Driver))
        end
     || Role <- [observer, front], Message <- Forbidden
    ],
    {_, {refused, bad_message, _}} = Of(observer, {submit, 1, #{}, py_driver:body(math, sqrt, [2])}),
    {Front, Said} = Of(front, {submit, 1, #{}, py_driver:body(math, sqrt, [2])}),
    ?assertMatch({failed, 1, {unknown_service, undefined}, _}, Said),
    py_driver:close(Front),
    py_driver:close(Observer),
    ok = py:stop_gateway(Path),
    ?assertEqual([], py_application:messages()).

a_token_is_good_for_one_connection(Config) ->
    Path = filename:join(?config(directory, Config), "observer.sock"),
    {ok, Path} = py:start_gateway(#{path => Path, role => observer}),
    Token = py_gateway:token(driver),
    {#{role := driver}, Driver} = py_driver:connect(Path, #{token => Token, role => driver}),
    ?assertMatch({refused, token, _}, py_driver:hello(py_driver:connect(Path), #{token => Token})),
    %% Also where the socket would give more.
    {#{role := front}, Front} = py_driver:connect(?config(path, Config), #{token => py_gateway:token(front)}),
    ?assertMatch({refused, {role, front}, _}, py_driver:hello(py_driver:connect(?config(path, Config)), #{token => py_gateway:token(front), role => driver})),
    [py_driver:close(Each) || Each <- [Driver, Front]],
    ok = py:stop_gateway(Path).

so_many_are_connected_and_no_more(Config) ->
    Path = filename:join(?config(directory, Config), "few.sock"),
    {ok, Path} = py:start_gateway(#{path => Path, max_connections => 2}),
    %% Who says nothing counts, too.
    Silent = py_driver:connect(Path),
    {_, Driver} = py_driver:connect(Path, #{}),
    ?assertMatch({refused, too_many_connections, _}, py_driver:next(py_driver:connect(Path))),
    py_driver:close(Silent),
    py_eventually:holds(fun() ->
        case py_driver:hello(py_driver:connect(Path), #{}) of
            {hello, _, _} -> true;
            {refused, _, _} -> false
        end
    end),
    py_driver:close(Driver),
    ok = py:stop_gateway(Path).

a_gateway_that_is_stopped_ends_its_drivers(Config) ->
    Path = ?config(path, Config),
    Driver = driver(Config),
    submit(Driver, 1, time, sleep, [60]),
    ?assertMatch({error, {py, {gateway, Path, _}}}, py:start_gateway(#{path => Path})),
    ok = py:stop_gateway(Path),
    ?assert(py_driver:is_closed(Driver)),
    ?assertEqual([], py:gateways()),
    ?assertMatch({error, {py, {gateway, Path, _}}}, py:stop_gateway(Path)),
    ?assertError(badarg, py:start_gateway(#{path => 7})),
    ?assertError(badarg, py:start_gateway(#{tea => green})),
    py_eventually:equals([0, 0], fun() -> [Calls || #{in_flight := Calls} <- py:workers()] end),
    {ok, Path} = py:start_gateway(#{path => list_to_binary(Path)}),
    py_driver:close(driver(Config)).

a_gateway_that_dies_is_started_again(Config) ->
    Driver = driver(Config),
    [{_, Gateway, _, _}] = supervisor:which_children(py_gateway_sup),
    exit(Gateway, kill),
    ?assert(py_driver:is_closed(Driver)),
    py_eventually:holds(fun() -> length(py:gateways()) =:= 1 end),
    Again = driver(Config),
    submit(Again, 1, math, sqrt, [4]),
    {done, _, _} = py_driver:answer(Again, 1),
    py_driver:close(Again).

the_application_opens_the_gateways_of_its_environment(Config) ->
    Path = ?config(path, Config),
    ?assertMatch([#{path := Path, role := driver}], py:gateways()),
    Driver = driver(Config),
    submit(Driver, 1, math, sqrt, [4]),
    {done, _, _} = py_driver:answer(Driver, 1),
    {ok, stopped} = py:stop(),
    ?assert(py_driver:is_closed(Driver)),
    [
        begin
            application:set_env(py, gateway, Wrong),
            ?assertMatch({error, {py, {bad_config, gateway, _}}}, py:start())
        end
     || Wrong <- [auto, [#{path => Path}, 7], #{role => king}]
    ],
    application:set_env(py, gateway, #{path => "/proc/self/node.sock"}),
    ?assertMatch({error, {py, {gateway, "/proc/self/node.sock", _}}}, py:start()),
    application:unset_env(py, gateway),
    {ok, started} = py:start(),
    ?assertEqual([], py:gateways()).

%%% What the cases share

driver(Config) ->
    {_, Driver} = py_driver:connect(?config(path, Config), #{role => driver}),
    Driver.

submit(Driver, Id, Module, Function, Args) -> submit(Driver, Id, Module, Function, Args, #{}).

submit(Driver, Id, Module, Function, Args, Route) ->
    py_driver:send(Driver, {submit, Id, Route, py_driver:body(Module, Function, Args)}).
