%%% Python code as a citizen of the BEAM: it calls Erlang from every thread and coroutine, and is called as a coroutine.
-module(py_citizen_SUITE).

-include_lib("stdlib/include/assert.hrl").
-include_lib("common_test/include/ct.hrl").

-export([suite/0, all/0, init_per_testcase/2, end_per_testcase/2]).
-export([
    many_threads_call_erlang_while_the_main_thread_waits_for_them/1,
    a_thread_gets_its_answer_while_the_main_thread_is_busy/1,
    calls_are_served_in_order_while_a_thread_waits/1,
    a_call_of_erlang_has_a_timeout_in_every_thread/1,
    after_a_timeout_python_goes_on_and_can_be_interrupted/1,
    references_cast_from_a_thread_live/1,
    python_knows_where_it_is/1,
    modules_are_attributes/1,
    the_logger_of_the_package_reaches_logger/1,
    the_pool_says_what_python_may_call/1,
    calls_nest_fifty_deep_on_one_worker/1,
    messages_are_cast_to_a_worker_or_to_a_pool/1,
    references_of_a_message_handler_belong_to_no_caller/1,
    a_thousand_coroutines_sleep_together/1,
    a_coroutine_fails_like_any_function/1,
    coroutines_call_erlang/1,
    a_coroutine_is_cancelled_at_its_deadline/1,
    a_coroutine_is_cancelled_with_its_caller_while_the_main_thread_is_busy/1,
    a_coroutine_that_holds_up_the_loop_is_killed/1,
    coroutines_die_with_their_interpreter/1,
    a_coroutine_returns_references/1,
    anything_awaitable_is_awaited/1,
    each_coroutine_has_its_own_context/1,
    a_call_may_run_a_loop_of_its_own/1,
    raw_calls_await_too/1,
    a_callback_may_stop_its_own_pool/1,
    a_worker_that_dies_in_a_callback_is_replaced/1,
    a_cast_to_a_dead_process_is_nothing/1
]).
%% Called from Python.
-export([later/2, nest/2, stop_pool/1, kill_python/1]).

suite() -> [{timetrap, {minutes, 5}}].

all() -> [F || {F, 1} <- ?MODULE:module_info(exports), not lists:member(F, [module_info, stop_pool, kill_python])].

init_per_testcase(_, Config) ->
    ok = py_application:start([{default, #{size => 1, kill_after => 2_000, python_path => [?config(data_dir, Config)]}}]),
    Config.

end_per_testcase(_, _Config) -> py_application:stop().

path(Config, Name) -> unicode:characters_to_binary(filename:join(?config(priv_dir, Config), Name)).

later(WaitMs, Term) ->
    %% The subject of the test is an answer that comes late.
    timer:sleep(WaitMs),
    Term.

nest(Worker, Depth) -> py:func(py_citizen, nest, [Depth], #{worker => Worker}).

many_threads_call_erlang_while_the_main_thread_waits_for_them(_Config) ->
    ?assertEqual([N * 50 || N <- lists:seq(0, 9)], py:func(py_citizen, sums_in_threads, [10, 50])).

a_thread_gets_its_answer_while_the_main_thread_is_busy(_Config) ->
    py:func(py_citizen, ask_in_background, [100, early]),
    ?assertEqual("spun", py:func(py_citizen, spin, [1.0])),
    %% The answer came while the main thread was busy, and was not waiting for it.
    ?assertEqual([early], py:func(py_citizen, from_background)).

calls_are_served_in_order_while_a_thread_waits(_Config) ->
    py:func(py_citizen, ask_in_background, [300, late]),
    Test = self(),
    Callers = [
        spawn_link(fun() -> Test ! {self(), [py:add(N, I) || I <- lists:seq(1, 100)]} end)
     || N <- lists:seq(1, 10)
    ],
    [
        receive {Caller, Sums} -> ?assertEqual([N + I || I <- lists:seq(1, 100)], Sums) end
     || {N, Caller} <- lists:zip(lists:seq(1, 10), Callers)
    ],
    py_eventually:equals([late], fun() -> py:func(py_citizen, from_background) end).

a_call_of_erlang_has_a_timeout_in_every_thread(_Config) ->
    [
        ?assertEqual("Erlang has not answered in time", py:func(py_citizen, F, [0.1]))
     || F <- [thread_timeout, main_timeout, acall_timeout]
    ],
    ?assertEqual(3, py:add(1, 2)).

after_a_timeout_python_goes_on_and_can_be_interrupted(Config) ->
    [#{os_pid := OsPid}] = py:workers(),
    File = path(Config, "interrupted"),
    ?assertError({py, timeout}, py:func(py_citizen, time_out_then_sleep, [File], #{timeout => 3_000})),
    py_eventually:holds(fun() -> filelib:is_file(File) end),
    ?assertEqual(3, py:add(1, 2)),
    ?assertMatch([#{os_pid := OsPid}], py:workers()).

references_cast_from_a_thread_live(_Config) ->
    py:func(py_citizen, cast_locks_from_a_thread, [self()]),
    receive
        {'$py.ref', _, _, _} = Lock ->
            ?assertEqual(false, py:method(Lock, locked)),
            ok = py:release(Lock),
            ?assertError({py, {stale_reference, _}}, py:method(Lock, locked))
    after 5_000 -> ct:fail(no_reference)
    end.

python_knows_where_it_is(_Config) ->
    [#{worker := Worker}] = py:workers(),
    ?assertEqual({Worker, node(), whereis(code_server)}, py:func(py_citizen, identity)).

modules_are_attributes(_Config) ->
    ?assertEqual([3, 2, 1], py:func(py_citizen, reverse, [[1, 2, 3]])).

the_logger_of_the_package_reaches_logger(_Config) ->
    ok = logger:add_handler(?MODULE, py_worker_SUITE, #{config => #{test => self()}}),
    try
        py:func(py_citizen, log, [<<"from the package">>])
    after
        logger:remove_handler(?MODULE)
    end,
    receive
        {logged, #{level := warning, meta := Meta}} -> ?assertMatch(#{py_logger := "erl"}, Meta)
    after 5_000 -> ct:fail(not_logged)
    end.

the_pool_says_what_python_may_call(Config) ->
    Start = fun(Name, Callbacks) ->
        {ok, _} = py:start_pool(Name, #{size => 1, python_path => [?config(data_dir, Config)], callbacks => Callbacks})
    end,
    Call = fun(Pool, F) -> py:func(py_citizen, try_call, [<<"lists">>, F, [[1, 2]]], #{pool => Pool}) end,
    Start(closed, none),
    Start(narrow, [{lists, sum}]),
    ?assertEqual(3, Call(default, <<"sum">>)),
    ?assertEqual({error, {callback_not_allowed, {lists, sum, 1}}}, Call(closed, <<"sum">>)),
    ?assertEqual(3, Call(narrow, <<"sum">>)),
    ?assertEqual({error, {callback_not_allowed, {lists, max, 1}}}, Call(narrow, <<"max">>)),
    %% Who and where it is, it may always know.
    ?assertMatch({_, _, _}, py:func(py_citizen, identity, #{pool => closed})).

calls_nest_fifty_deep_on_one_worker(_Config) ->
    ?assertEqual(50, py:func(py_citizen, nest, [50])).

messages_are_cast_to_a_worker_or_to_a_pool(_Config) ->
    py:func(py_citizen, keep_messages),
    [#{worker := Worker}] = py:workers(),
    ok = py:cast(Worker, {one, 1}),
    ok = py:cast(default, two),
    py_eventually:equals([{one, 1}, two], fun() -> py:func(py_citizen, kept) end),
    ?assertEqual({error, {py, {unknown_pool, no_such_pool}}}, py:cast(no_such_pool, x)).

references_of_a_message_handler_belong_to_no_caller(_Config) ->
    py:func(py_citizen, answer_with_locks),
    ok = py:cast(default, self()),
    Lock = receive {'$py.ref', _, _, _} = Reference -> Reference after 5_000 -> ct:fail(no_reference) end,
    %% The next caller is gone when the lock is used.
    {Pid, Monitor} = spawn_monitor(fun() -> 3 = py:add(1, 2) end),
    receive {'DOWN', Monitor, process, Pid, normal} -> ok end,
    ?assertEqual(3, py:add(1, 2)),
    ?assertEqual(false, py:method(Lock, locked)),
    ok = py:release(Lock).

a_thousand_coroutines_sleep_together(_Config) ->
    Test = self(),
    Before = erlang:monotonic_time(millisecond),
    Callers = [spawn_link(fun() -> Test ! {self(), py:func(py_citizen, sleep, [0.3, N])} end) || N <- lists:seq(1, 1000)],
    [receive {Caller, Value} -> ?assertEqual(N, Value) end || {N, Caller} <- lists:zip(lists:seq(1, 1000), Callers)],
    %% One after another they would take five minutes.
    ?assert(erlang:monotonic_time(millisecond) - Before < 20_000).

a_coroutine_fails_like_any_function(_Config) ->
    ?assertError({python, 'builtins.ValueError', "no", [{_, _, "fail", _} | _]}, py:func(py_citizen, fail, [<<"no">>])).

coroutines_call_erlang(_Config) ->
    ?assertEqual(6, py:func(py_citizen, sum_later, [[1, 2, 3]])),
    ?assertEqual(6, py:func(py_citizen, call_in_a_coroutine, [[1, 2, 3]])),
    ?assertEqual([1 + N || N <- lists:seq(0, 199)], py:func(py_citizen, sums_later, [200])).

a_coroutine_is_cancelled_at_its_deadline(Config) ->
    [#{os_pid := OsPid}] = py:workers(),
    File = path(Config, "deadline"),
    %% The first coroutine of an interpreter waits for asyncio.
    undefined = py:func(asyncio, sleep, [0]),
    ?assertError({py, timeout}, py:func(py_citizen, note_cancellation, [File], #{timeout => 300})),
    py_eventually:holds(fun() -> filelib:is_file(File) end),
    ?assertEqual(3, py:add(1, 2)),
    ?assertMatch([#{os_pid := OsPid, in_flight := 0}], py:workers()).

a_coroutine_is_cancelled_with_its_caller_while_the_main_thread_is_busy(Config) ->
    File = path(Config, "caller"),
    Caller = spawn(fun() -> py:func(py_citizen, note_cancellation, [File]) end),
    py_eventually:holds(fun() -> filelib:is_file(<<File/binary, ".started">>) end),
    Test = self(),
    spawn_link(fun() -> Test ! py:func(py_citizen, spin, [2.0]) end),
    exit(Caller, kill),
    py_eventually:holds(fun() -> filelib:is_file(File) end, 1_500),
    receive "spun" -> ok after 10_000 -> ct:fail(not_spun) end.

a_coroutine_that_holds_up_the_loop_is_killed(Config) ->
    {ok, _} = py:start_pool(strict, #{size => 1, kill_after => 200, python_path => [?config(data_dir, Config)]}),
    [#{os_pid := OsPid}] = py:workers(strict),
    File = path(Config, "held_up"),
    ?assertError({py, timeout}, py:func(py_citizen, hold_up_the_loop, [File], #{pool => strict, timeout => 300})),
    py_eventually:holds(fun() -> [#{os_pid := Now}] = py:workers(strict), Now =/= OsPid andalso Now =/= undefined end),
    ?assertEqual(3, py:func(operator, add, [1, 2], #{pool => strict})).

coroutines_die_with_their_interpreter(_Config) ->
    Test = self(),
    [#{os_pid := OsPid}] = py:workers(),
    [spawn_link(fun() -> Test ! (catch py:func(py_citizen, sleep, [60, N])) end) || N <- lists:seq(1, 10)],
    py_eventually:holds(fun() -> [#{in_flight := Count}] = py:workers(), Count =:= 10 end),
    %% They are there, and hold nobody up.
    ?assertEqual(3, py:add(1, 2)),
    py_os_process:kill(OsPid),
    [
        receive Result -> ?assertMatch({'EXIT', {{py, {worker_down, {signal, 9, _}}}, _}}, Result) end
     || _ <- lists:seq(1, 10)
    ],
    ?assertEqual(3, py:add(1, 2)).

a_coroutine_returns_references(_Config) ->
    Lock = py:func(py_citizen, lock_later),
    ?assertMatch({'$py.ref', _, _, _}, Lock),
    ?assertEqual(false, py:method(Lock, locked)),
    ?assertMatch([#{references := 1}], py:workers()),
    ok = py:release(Lock).

anything_awaitable_is_awaited(_Config) -> ?assertEqual("awaited", py:func(py_citizen, awaitable)).

each_coroutine_has_its_own_context(_Config) ->
    Test = self(),
    [spawn_link(fun() -> Test ! {N, py:func(py_citizen, set_variable, [integer_to_binary(N), 0.05])} end)
     || N <- lists:seq(1, 20)],
    [receive {N, Seen} -> ?assertEqual({"unset", integer_to_list(N)}, Seen) end || N <- lists:seq(1, 20)].

a_call_may_run_a_loop_of_its_own(_Config) -> ?assertEqual(6, py:func(py_citizen, loop_of_its_own, [[1, 2, 3]])).

raw_calls_await_too(_Config) -> ?assertEqual(tea, py:pycall(py_citizen, sleep, [0.01, tea])).

a_callback_may_stop_its_own_pool(Config) ->
    {ok, _} = py:start_pool(doomed, #{size => 1, drain_timeout => 200, python_path => [?config(data_dir, Config)]}),
    Stop = [<<"py_citizen_SUITE">>, <<"stop_pool">>, [doomed]],
    ?assertError({py, {worker_down, stopped}}, py:func(py_citizen, try_call, Stop, #{pool => doomed})),
    py_eventually:equals([default], fun py_registry:pools/0),
    ?assertEqual(3, py:add(1, 2)).

stop_pool(Name) -> py:stop_pool(Name).

a_worker_that_dies_in_a_callback_is_replaced(_Config) ->
    [#{os_pid := OsPid}] = py:workers(),
    Kill = [<<"py_citizen_SUITE">>, <<"kill_python">>, [OsPid]],
    ?assertError({py, {worker_down, {signal, 9, _}}}, py:func(py_citizen, try_call, Kill)),
    ?assertEqual(3, py:add(1, 2)).

kill_python(OsPid) ->
    py_os_process:kill(OsPid),
    %% The answer must not be quicker than the end.
    timer:sleep(1_000).

a_cast_to_a_dead_process_is_nothing(_Config) ->
    {Pid, Monitor} = spawn_monitor(fun() -> ok end),
    receive {'DOWN', Monitor, process, Pid, _} -> ok end,
    ?assertEqual(undefined, py:func(erl, cast, [Pid, hello])),
    ?assertEqual(3, py:add(1, 2)).
