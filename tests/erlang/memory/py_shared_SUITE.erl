%%% Arrays and bytes in shared memory: what goes and comes, whose the files are, and what is left of them when a process, a
%%% worker or a BEAM goes in the middle.
-module(py_shared_SUITE).

-include_lib("stdlib/include/assert.hrl").
-include_lib("common_test/include/ct.hrl").

-export([suite/0, all/0, init_per_testcase/2, end_per_testcase/2]).
-export([
    large_values_stay_in_shared_memory_and_small_ones_do_not/1,
    an_array_comes_as_an_array_that_nobody_writes/1,
    without_the_option_nothing_is_shared/1,
    every_kind_of_array_comes_back_exact/1,
    a_view_of_shared_memory_is_not_copied/1,
    what_is_shared_from_erlang_is_mapped_by_every_worker/1,
    parts_are_arithmetic/1,
    what_was_made_to_be_written_is_written_by_several/1,
    a_coroutine_and_calls_in_parallel_share/1,
    what_erlang_can_not_share_is_refused/1,
    a_file_goes_with_its_last_owner/1,
    what_was_freed_is_stale_for_everybody/1,
    a_result_that_nobody_waits_for_leaves_nothing/1,
    results_that_nobody_takes_leave_nothing/1,
    handlers_that_ask_while_results_are_made_leave_nothing/1,
    a_message_takes_nothing_of_the_call_that_it_comes_in/1,
    what_was_told_of_a_call_that_is_too_late_goes/1,
    what_a_stream_has_read_ahead_goes_with_it/1,
    a_reduction_shares_what_comes_out_of_it/1,
    what_py_asks_python_for_itself_is_not_shared/1,
    a_call_that_fails_leaves_what_it_has_sent/1,
    a_killed_worker_leaves_nothing_that_nobody_owns/1,
    a_killed_worker_process_leaves_nothing_that_nobody_owns/1,
    a_sharer_killed_while_it_writes_leaves_nothing/1,
    a_sharer_killed_while_it_waits_gets_no_file/1,
    a_killed_owner_of_the_books_takes_the_files_along/1,
    the_limit_is_an_error_and_the_worker_lives/1,
    what_is_mapped_does_not_count_as_the_worker_s_own/1,
    a_limit_that_is_none_is_told/1,
    made_up_terms_are_errors/1,
    a_thousand_arrays_leave_no_file_and_no_descriptor/1,
    after_the_stop_no_file_is_left/1,
    what_a_killed_beam_leaves_the_next_start_takes_away/1,
    a_worker_without_shared_memory_gets_the_bytes/1,
    a_function_that_meets_memory_of_elsewhere_runs_once/1,
    another_node_gets_the_bytes/1
]).
%% Called from Python.
-export([messaged/1]).

-define(LARGE, 131_072).

suite() -> [{timetrap, {minutes, 5}}].

all() ->
    [
        large_values_stay_in_shared_memory_and_small_ones_do_not,
        an_array_comes_as_an_array_that_nobody_writes,
        without_the_option_nothing_is_shared,
        every_kind_of_array_comes_back_exact,
        a_view_of_shared_memory_is_not_copied,
        what_is_shared_from_erlang_is_mapped_by_every_worker,
        parts_are_arithmetic,
        what_was_made_to_be_written_is_written_by_several,
        a_coroutine_and_calls_in_parallel_share,
        what_erlang_can_not_share_is_refused,
        a_file_goes_with_its_last_owner,
        what_was_freed_is_stale_for_everybody,
        a_result_that_nobody_waits_for_leaves_nothing,
        results_that_nobody_takes_leave_nothing,
        handlers_that_ask_while_results_are_made_leave_nothing,
        a_message_takes_nothing_of_the_call_that_it_comes_in,
        what_was_told_of_a_call_that_is_too_late_goes,
        what_a_stream_has_read_ahead_goes_with_it,
        a_reduction_shares_what_comes_out_of_it,
        what_py_asks_python_for_itself_is_not_shared,
        a_call_that_fails_leaves_what_it_has_sent,
        a_killed_worker_leaves_nothing_that_nobody_owns,
        a_killed_worker_process_leaves_nothing_that_nobody_owns,
        a_sharer_killed_while_it_writes_leaves_nothing,
        a_sharer_killed_while_it_waits_gets_no_file,
        a_killed_owner_of_the_books_takes_the_files_along,
        the_limit_is_an_error_and_the_worker_lives,
        what_is_mapped_does_not_count_as_the_worker_s_own,
        a_limit_that_is_none_is_told,
        made_up_terms_are_errors,
        a_thousand_arrays_leave_no_file_and_no_descriptor,
        after_the_stop_no_file_is_left,
        what_a_killed_beam_leaves_the_next_start_takes_away,
        a_worker_without_shared_memory_gets_the_bytes,
        a_function_that_meets_memory_of_elsewhere_runs_once,
        another_node_gets_the_bytes
    ].

%% The cases that are about arrays, and not only about bytes.
needs_numpy() ->
    [
        an_array_comes_as_an_array_that_nobody_writes,
        every_kind_of_array_comes_back_exact,
        a_view_of_shared_memory_is_not_copied,
        parts_are_arithmetic,
        what_was_made_to_be_written_is_written_by_several
    ].

init_per_testcase(a_limit_that_is_none_is_told, Config) ->
    Config;
init_per_testcase(Case, Config) ->
    ok = py_application:start([{default, pool(Config)}]),
    case lists:member(Case, needs_numpy()) andalso not has_numpy() of
        true ->
            ok = py_application:stop(),
            {skip, "numpy is not installed here"};
        false ->
            Config
    end.

end_per_testcase(_, _Config) ->
    application:unset_env(py, max_shared_bytes),
    py_application:stop().

pool(Config) -> #{size => 2, python_path => [?config(data_dir, Config)]}.

has_numpy() -> py:func('importlib.util', find_spec, [<<"numpy">>]) =/= undefined.

%%% What goes and comes

large_values_stay_in_shared_memory_and_small_ones_do_not(_Config) ->
    Content = content(?LARGE),
    [
        begin
            Shm = shared(made, [Kind, ?LARGE]),
            {'$py.shm', {_, _, {0, ?LARGE}, bytes}} = Shm,
            ?assertEqual(Content, py:value(Shm)),
            ?assertEqual("memoryview", func(name_of_type, [Shm])),
            ?assertEqual(Content, py:func(builtins, bytes, [Shm])),
            ?assertNot(func(is_writable, [Shm]))
        end
     || Kind <- [<<"bytes">>, <<"bytearray">>, <<"memoryview">>, <<"array">>]
    ],
    ?assertMatch([{a, {'$py.shm', _}}, {'$py.shm', _}, "b"], shared(same, [[{a, {bytes, Content}}, {bytes, Content}, "b"]])),
    Small = content(1024),
    ?assertEqual(Small, shared(made, [<<"bytes">>, 1024])),
    ?assertEqual({"bytearray", Small}, shared(made, [<<"bytearray">>, 1024])),
    ?assertMatch({'$erlport.opaque', python, _}, shared(made, [<<"array">>, 1024])).

an_array_comes_as_an_array_that_nobody_writes(_Config) ->
    Shm = shared(arranged, [20_000]),
    {'$py.shm', {_, _, {0, 160_000}, {"<f8", {20_000}}}} = Shm,
    ?assert(erlang:external_size(Shm) < 200),
    ?assertEqual("ndarray", func(name_of_type, [Shm])),
    ?assertNot(func(is_writable, [Shm])),
    ?assertEqual(199_990_000.0, py:func(numpy, sum, [Shm])),
    ?assertError({python, 'builtins.ValueError', _, _}, func(write, [Shm, 0, 1])),
    {"ndarray", {"<f8", {20_000}, Binary}} = Value = py:value(Shm),
    ?assertMatch(<<0.0/float-little, 1.0/float-little, _/binary>>, Binary),
    %% The value form goes back by the pipe, and what is small has no other.
    ?assertEqual(199_990_000.0, py:func(numpy, sum, [Value])),
    ?assertEqual(
        {"ndarray", {"<f8", {2}, <<0.0/float-little, 1.0/float-little>>}}, shared(arranged, [2])
    ),
    ?assertEqual(Value, py:func(py_sharing, arranged, [20_000], #{arrays => value})),
    ?assertEqual(199_990_000.0, py:func(numpy, sum, py:pycall(py_sharing, same, [[Shm]], #{arrays => shared}))),
    %% Shared by name, whatever the options.
    ?assertMatch({'$py.shm', {_, _, {0, 16}, {"<f8", {2}}}}, py:func(erl, share, [{"ndarray", {"<f8", {2}, <<0:128>>}}])).

without_the_option_nothing_is_shared(_Config) ->
    ?assertEqual(content(?LARGE), py:func(py_sharing, made, [<<"bytes">>, ?LARGE])),
    ?assertMatch({'$erlport.opaque', python, _}, py:func(py_sharing, made, [<<"array">>, ?LARGE])),
    ?assertMatch(#{files := 0, bytes := 0}, py:shared_memory()),
    {ok, _} = py:start_pool(sharing, #{size => 1, arrays => shared}),
    ?assertMatch({'$py.shm', _}, py:func(builtins, bytes, [?LARGE], #{pool => sharing})),
    ?assertEqual(<<0:?LARGE/unit:8>>, py:func(builtins, bytes, [?LARGE], #{pool => sharing, arrays => value})),
    ?assertError(badarg, py:func(builtins, bytes, [?LARGE], #{arrays => no})).

every_kind_of_array_comes_back_exact(_Config) ->
    Expressions = [
        <<"numpy.arange(65536, dtype='>i4').reshape(4, 8, -1)">>,
        <<"numpy.arange(65536, dtype='<f4').reshape(256, 256).T">>,
        <<"numpy.arange(65536)[::-1]">>,
        <<"numpy.zeros(70000, '?')">>,
        <<"numpy.arange(70000).astype('M8[s]')">>,
        <<"numpy.array(['a\u00e9'] * 70000)"/utf8>>,
        <<"numpy.zeros(70000, [('a', '<i4'), ('b', '>f8', (2,))])">>,
        <<"numpy.full((300, 300), 1+2j)">>
    ],
    [
        begin
            Here = py:func(builtins, eval, [Expression, #{<<"numpy">> => numpy()}], #{return => ref}),
            Shm = py:func(py_sharing, same, [Here], #{arrays => shared}),
            ?assertMatch({Expression, {'$py.shm', _}}, {Expression, Shm}),
            Same = py:func(numpy, array_equal, [Here, Shm]),
            ?assertEqual({Expression, true}, {Expression, Same}),
            ?assert(py:func(operator, eq, [py:attr(Here, dtype), py:attr(Shm, dtype)]))
        end
     || Expression <- Expressions
    ],
    ?assertMatch({'$erlport.opaque', python, _},
        py:func(numpy, full, [70_000, undefined], #{arrays => shared})).

numpy() -> py:func(importlib, import_module, [<<"numpy">>]).

a_view_of_shared_memory_is_not_copied(_Config) ->
    Shm = shared(arranged, [20_000]),
    {_, {_, Name, _, _}} = Shm,
    ?assertEqual(Shm, shared(same, [Shm])),
    ?assertMatch({'$py.shm', {_, Name, {80_000, 80_000}, {"<f8", {10_000}}}}, shared(second_half, [Shm])),
    ?assertMatch(#{files := 1}, py:shared_memory()),
    {'$py.shm', {_, Other, {0, 80_000}, _}} = shared(every_second, [Shm]),
    ?assertNotEqual(Name, Other),
    Bytes = py:share(content(2 * ?LARGE)),
    {_, {_, NameOfBytes, _, _}} = Bytes,
    ?assertMatch({'$py.shm', {_, NameOfBytes, {?LARGE, ?LARGE}, bytes}}, shared(second_half, [Bytes])).

what_is_shared_from_erlang_is_mapped_by_every_worker(_Config) ->
    Content = content(?LARGE),
    Shm = py:share(Content),
    ?assertEqual(Content, py:value(Shm)),
    ?assertMatch(#{files := 1, bytes := ?LARGE}, py:shared_memory()),
    ?assertEqual(
        [Content, Content],
        [py:func(builtins, bytes, [Shm], #{worker => Worker}) || #{worker := Worker} <- py:workers()]
    ),
    ?assertEqual(Content, py:pycall(builtins, bytes, [Shm])),
    ?assertEqual(<<>>, py:func(builtins, bytes, [py:share(<<>>)])),
    ?assertEqual(<<>>, py:value(py:share(<<>>))),
    ?assertEqual(#{a => Content}, py:func(py_sharing, same, [#{a => {bytes, Content}}], #{dicts => map})).

parts_are_arithmetic(_Config) ->
    Shm = py:share({"ndarray", {"<i2", {10, 3}, << <<N:16/little>> || N <- lists:seq(1, 30) >>}}),
    Parts = py:split(Shm, 4),
    ?assertEqual([{2, 3}, {3, 3}, {2, 3}, {3, 3}], [Shape || {_, {_, _, _, {_, Shape}}} <- Parts]),
    ?assertEqual(465, lists:sum([py:func(numpy, sum, [Part]) || Part <- Parts])),
    ?assertMatch({"ndarray", {"<i2", {2, 3}, <<1:16/little, _/binary>>}}, py:value(hd(Parts))),
    ?assertEqual([Shm], py:split(Shm, 1)),
    ?assertEqual(10, length(py:split(Shm, 99))),
    ?assertEqual(5, length(py:split(lists:last(py:split(Shm, 2)), 5))),
    ?assertEqual([<<"ab">>, <<"cde">>], [py:value(Part) || Part <- py:split(py:share(<<"abcde">>), 2)]),
    Empty = py:share({"ndarray", {"<i2", {0, 3}, <<>>}}),
    ?assertEqual([Empty], py:split(Empty, 3)),
    ?assertEqual({0, 3}, py:attr(Empty, shape)),
    Scalar = py:share({"ndarray", {"<i2", {}, <<7:16/little>>}}),
    ?assertEqual(7, py:func(builtins, int, [Scalar])),
    [?assertError(badarg, py:split(Bad, Count)) || {Bad, Count} <- [{Scalar, 2}, {Shm, 0}, {Shm, a}, {foo, 2}]].

what_was_made_to_be_written_is_written_by_several(_Config) ->
    Shm = py:func('erl.shared', zeros, [{2, 4}, <<"u1">>]),
    {'$py.shm', {_, _, {0, 8}, {"|u1", {2, 4}}}} = Shm,
    ?assertEqual({"ndarray", {"|u1", {2, 4}, <<0:64>>}}, py:value(Shm)),
    [
        func(write, [Part, 0, Number], #{worker => Worker})
     || {#{worker := Worker}, Part, Number} <- lists:zip3(py:workers(), py:split(Shm, 2), [7, 9])
    ],
    ?assertEqual({"ndarray", {"|u1", {2, 4}, <<7, 7, 7, 7, 9, 9, 9, 9>>}}, py:value(Shm)).

a_coroutine_and_calls_in_parallel_share(_Config) ->
    Content = content(?LARGE),
    ?assertEqual(Content, py:value(shared(soon, [?LARGE]))),
    Parts = py:split(py:share(Content), 8),
    Handles = py:scatter(builtins, bytes, [[Part] || Part <- Parts]),
    ?assertEqual(Content, iolist_to_binary(py:gather(Handles))),
    Halves = py:split(py:share(content(2 * ?LARGE)), 2),
    ?assertEqual([Content, Content], [py:value(Shm) || Shm <- py:pmap(builtins, bytes, Halves, #{arrays => shared})]),
    Handle = py:async(py_sharing, made, [<<"bytes">>, ?LARGE], #{arrays => shared}),
    ?assertEqual(Content, py:value(py:await(Handle))),
    %% Whoever cancels a call comes too late where its owner has begun to take the result.
    {'$py.async', _, _, _, {States, Position}} = Taken = py:async(py_sharing, made, [<<"bytes">>, ?LARGE], #{arrays => shared}),
    py_eventually:equals(true, fun() -> atomics:get(States, Position) =/= 0 end),
    Behind = py:async(time, sleep, [0.5]),
    {_, Monitor} = spawn_monitor(fun() ->
        py_eventually:equals(1, fun() -> atomics:get(States, Position) end),
        ok = py:cancel(Taken)
    end),
    ?assertEqual([Content, undefined], [if is_tuple(Value) -> py:value(Value); true -> Value end || Value <- py:gather([Taken, Behind])]),
    receive {'DOWN', Monitor, process, _, normal} -> ok end.

what_erlang_can_not_share_is_refused(_Config) ->
    [
        ?assertError(badarg, py:share(Bad))
     || Bad <- [
            foo,
            "text",
            {"ndarray", {"<f8", {2}, <<0:24>>}},
            {"ndarray", {"<f8", [2], <<0:128>>}},
            {"ndarray", {"<f8", {-2}, <<0:128>>}},
            {"ndarray", {"<f8", {0}, <<0:64>>}},
            {"ndarray", {"<f8", {2}, <<>>}}
        ]
    ],
    ?assertError(badarg, py:value(foo)),
    ?assertError(badarg, py:release(foo)),
    [
        ?assertError({python, 'builtins.TypeError', _, _}, py:func(erl, share, [Bad]))
     || Bad <- [12, [1, 2], py:func(builtins, object, [])]
    ],
    ?assertMatch(#{files := 0}, py:shared_memory()).

%%% Whose it is

a_file_goes_with_its_last_owner(_Config) ->
    Test = self(),
    First = py_caller:start(fun() ->
        Test ! {shm, shared(made, [<<"bytes">>, ?LARGE])},
        receive never -> ok end
    end),
    Shm = receive {shm, Made} -> Made end,
    Second = py_caller:start(fun() ->
        Shm = shared(same, [Shm]),
        Test ! again,
        receive never -> ok end
    end),
    receive again -> ok end,
    py_caller:kill(First),
    %% The end of the first has been seen when that of one which died later has been.
    Third = py_caller:start(fun() -> shared(made, [<<"bytes">>, ?LARGE]) end),
    {ok, Other} = py_caller:result(Third),
    py_eventually:holds(fun() -> is_stale(Other) end),
    ?assertEqual(content(?LARGE), py:value(Shm)),
    py_caller:kill(Second),
    py_eventually:holds(fun() -> is_stale(Shm) end),
    py_eventually:equals(0, fun files/0).

what_was_freed_is_stale_for_everybody(_Config) ->
    Shm = shared(made, [<<"bytes">>, ?LARGE]),
    [Part | _] = py:split(Shm, 2),
    %% A worker that has mapped it keeps what it has, and gets it from nowhere again.
    Kept = py:func(py_sharing, same, [Shm], #{return => ref}),
    ok = py:release(Shm),
    ok = py:release([Shm, Part]),
    ?assertEqual(0, files()),
    [
        ?assertError({py, {stale_reference, "the shared memory was freed" ++ _}}, Use(Term))
     || Use <- [fun py:value/1, fun py:len/1, fun(Term) -> shared(same, [Term]) end], Term <- [Shm, Part]
    ],
    ?assertEqual(?LARGE, py:len(Kept)),
    ?assertEqual(3, py:add(1, 2)),
    %% Sent once more it is a copy.
    Copy = py:func(py_sharing, same, [Kept], #{arrays => shared}),
    ?assertEqual(content(?LARGE), py:value(Copy)),
    ok = py:release(Copy).

a_result_that_nobody_waits_for_leaves_nothing(Config) ->
    Begun = filename:join(?config(priv_dir, Config), "begun"),
    Slow = fun(Options) -> py:func(py_sharing, later, [?LARGE, 0.3, list_to_binary(Begun)], Options#{arrays => shared}) end,
    ?assertError({py, timeout}, Slow(#{timeout => 100})),
    file:delete(Begun),
    Caller = py_caller:start(fun() -> Slow(#{}) end),
    py_eventually:holds(fun() -> filelib:is_file(Begun) end),
    py_caller:kill(Caller),
    Handle = py:async(py_sharing, later, [?LARGE, 0.3, list_to_binary(Begun)], #{arrays => shared}),
    ok = py:cancel(Handle),
    py_eventually:equals(0, fun() -> lists:sum([Calls || #{in_flight := Calls} <- py:workers()]) end),
    py_eventually:equals(0, fun files/0),
    %% Callers that go at any time.
    [
        begin
            Each = py_caller:start(fun() -> shared(made, [<<"bytes">>, ?LARGE]) end),
            %% So that they are killed in all parts of their calls.
            receive after Ms -> ok end,
            py_caller:kill(Each),
            receive {Pid, {ok, _}} when is_pid(Pid) -> ok after 0 -> ok end
        end
     || Ms <- [0, 0, 1, 1, 2, 3]
    ],
    py_eventually:equals(0, fun files/0).

%% The calls were over before anybody asked. What has been taken stays.
results_that_nobody_takes_leave_nothing(_Config) ->
    Options = #{arrays => shared},
    Sizes = [?LARGE, ?LARGE, -1, ?LARGE],
    Scatter = fun() -> py:scatter(py_sharing, bytes_or_failure, [[Size] || Size <- Sizes], Options) end,
    AllMade = fun() -> py_eventually:equals(3, fun files/0) end,
    Failed = Scatter(),
    AllMade(),
    ?assertError({python, 'builtins.ValueError', _, _}, py:gather(Failed)),
    py_eventually:equals(0, fun files/0),
    Cancelled = Scatter(),
    AllMade(),
    lists:foreach(fun py:cancel/1, Cancelled),
    py_eventually:equals(0, fun files/0),
    ?assertError({python, _, _, _}, py:pmap(py_sharing, bytes_or_failure, Sizes, Options#{chunk => 1})),
    py_eventually:equals(0, fun files/0),
    [First, Second, _, _] = Handles = Scatter(),
    AllMade(),
    Shm = py:await(First),
    ok = py:cancel(Second),
    %% To nobody's loss: it was taken.
    ok = py:cancel(First),
    py_eventually:equals(2, fun files/0),
    ?assertEqual(content(?LARGE), py:value(Shm)),
    [{ok, Last}] = py:gather_all([lists:last(Handles)]),
    ok = py:cancel(lists:nth(3, Handles)),
    Mapped = py:pmap(py_sharing, bytes_or_failure, [?LARGE, ?LARGE], Options),
    ?assertEqual([content(?LARGE) || _ <- [1, 2, 3, 4]], [py:value(Kept) || Kept <- [Shm, Last | Mapped]]),
    ok = py:release([Shm, Last | Mapped]),
    ?assertEqual(0, files()).

%% Python has said whose the file is, and the answer never comes.
%% On one worker: calls nest in those whose handlers ask, and are cancelled while their results are made.
handlers_that_ask_while_results_are_made_leave_nothing(_Config) ->
    ok = py:resize(default, 1),
    End = erlang:monotonic_time(millisecond) + 5_000,
    Enter = fun Again() ->
        _ = catch py:func(py_sharing, entered, [100], #{timeout => 5_000}),
        erlang:monotonic_time(millisecond) > End orelse Again()
    end,
    Drop = fun Again() ->
        Handles = py:scatter(py_sharing, made, [[<<"bytes">>, ?LARGE] || _ <- [1, 2, 3]], #{arrays => shared, timeout => 5_000}),
        %% Some before Python has come to them, some after: no wait for anything.
        receive after rand:uniform(30) -> ok end,
        lists:foreach(fun py:cancel/1, Handles),
        erlang:monotonic_time(millisecond) > End orelse Again()
    end,
    Callers = [spawn_monitor(Fun) || Fun <- [Enter, Enter, Drop, Drop, Drop, Drop]],
    [receive {'DOWN', Monitor, process, Pid, Reason} -> ?assertEqual(normal, Reason) end || {Pid, Monitor} <- Callers],
    py_eventually:equals(0, fun files/0),
    ?assertEqual(0, func(unsent, [])).

%% What a call has sent is its caller's, also when a message is served before it ends.
a_message_takes_nothing_of_the_call_that_it_comes_in(_Config) ->
    [Worker | _] = [Worker || #{worker := Worker} <- py:workers(default)],
    undefined = py:func(py_sharing, heeds_messages, [], #{worker => Worker}),
    {Caller, Monitor} = spawn_monitor(fun() ->
        "answered" = py:func(py_sharing, sends_and_waits, [?LARGE], #{worker => Worker})
    end),
    receive {'DOWN', Monitor, process, Caller, Reason} -> ?assertEqual(normal, Reason) end,
    py_eventually:equals(0, fun files/0).

messaged(_Shm) ->
    [ok = py:cast(Worker, hello) || #{worker := Worker} <- py:workers(default)],
    %% The message is before the answer, which comes from another process.
    [{ok, _} = py_worker:info(Worker) || #{worker := Worker} <- py:workers(default)],
    "answered".

what_was_told_of_a_call_that_is_too_late_goes(_Config) ->
    ?assertError({py, timeout}, py:func(py_sharing, share_and_wait, [?LARGE, self()], #{timeout => 3_000})),
    Shm = receive {shared, Sent} -> Sent after 5_000 -> ct:fail(not_shared) end,
    py_eventually:holds(fun() -> is_stale(Shm) end),
    %% What its caller owns by another call stays.
    On = #{worker => hd([Worker || #{worker := Worker} <- py:workers()])},
    Ours = py:func(py_sharing, keep_and_give, [?LARGE], On),
    ?assertError({py, timeout}, py:func(py_sharing, send_kept_and_wait, [self()], On#{timeout => 3_000})),
    receive {shared, Ours} -> ok after 5_000 -> ct:fail(not_shared) end,
    ?assertEqual(3, py:func(operator, add, [1, 2], On)),
    ?assertEqual(content(?LARGE), py:value(Ours)),
    ok = py:release(Ours).

what_a_stream_has_read_ahead_goes_with_it(_Config) ->
    Stream = py:stream(py_sharing, several, [100, ?LARGE], #{arrays => shared}),
    {ok, First} = py:stream_next(Stream),
    py_eventually:holds(fun() -> files() > 2 end),
    ok = py:stream_close(Stream),
    py_eventually:holds(fun() -> files() =< 2 end),
    ?assertEqual(content(?LARGE), py:value(First)),
    Whole = py:stream(py_sharing, several, [20, ?LARGE], #{arrays => shared}),
    All = py:stream_fold(fun(Item, Acc) -> [Item | Acc] end, [], Whole),
    ?assertEqual([content(?LARGE)], lists:usort([py:value(Shm) || Shm <- All])),
    ?assertEqual(20, length(lists:usort(All))).

a_reduction_shares_what_comes_out_of_it(_Config) ->
    Items = [{bytes, content(?LARGE)} || _ <- lists:seq(1, 8)],
    Whole = py:preduce(py_sharing, joined, Items, #{arrays => shared, chunk => 2}),
    ?assert(binary:copy(content(?LARGE), 8) =:= py:value(Whole)),
    ?assertEqual(1, files()),
    ok = py:release(Whole).

%% The namespace of a session, the source of a module that is pushed: also where the pool shares what is large.
what_py_asks_python_for_itself_is_not_shared(Config) ->
    Directory = ?config(priv_dir, Config),
    Source = ["def tea():\n    return 42\n#", binary:copy(<<"x">>, ?LARGE), "\n"],
    ok = file:write_file(filename:join(Directory, "py_large_module.py"), Source),
    application:set_env(py, pools, [{default, #{size => 1, arrays => shared, python_path => [Directory]}}]),
    {ok, restarted} = py:restart(),
    Session = py_session:open(#{arrays => shared, persistent => true}),
    _ = py_session:exec(Session, <<"x = bytes(200000)">>),
    Copy = py_session:fork(Session),
    ?assertEqual(200_000, py_session:eval(Copy, <<"len(x)">>)),
    ?assertEqual(0, files()),
    ?assertMatch({'$py.shm', _}, py_session:eval(Copy, <<"x">>)),
    ?assertEqual([], py_cluster:push(py_large_module)),
    ?assertEqual(1, files()),
    lists:foreach(fun py_session:close/1, [Session, Copy]).

a_call_that_fails_leaves_what_it_has_sent(_Config) ->
    ?assertError({python, 'builtins.ValueError', "after the cast", _}, func(share_and_say, [?LARGE, self()])),
    Shm = receive {shared, Sent} -> Sent after 5_000 -> ct:fail(nothing_sent) end,
    ?assertEqual(content(?LARGE), py:value(Shm)),
    ok = py:release(Shm),
    ?assertError({py, {encode, _}}, shared(with_a_failure, [?LARGE])),
    py_eventually:equals(0, fun files/0),
    func(keep, [?LARGE]),
    ?assertEqual(1, files()),
    [py:func(py_sharing, forget, [], #{worker => Worker}) || #{worker := Worker} <- py:workers()],
    py_eventually:equals(0, fun files/0).

a_killed_worker_leaves_nothing_that_nobody_owns(_Config) ->
    [#{worker := Worker, os_pid := OsPid} | _] = py:workers(),
    On = #{worker => Worker},
    Shm = py:func(py_sharing, made, [<<"bytes">>, ?LARGE], On#{arrays => shared}),
    func(keep, [?LARGE], On),
    ?assertEqual(2, files()),
    py_os_process:kill(OsPid),
    py_eventually:equals(1, fun files/0),
    %% What was answered belongs to its caller, whoever made it.
    ?assertEqual(content(?LARGE), py:value(Shm)),
    ?assertEqual(?LARGE, py:func(builtins, len, [Shm], On)),
    func(keep, [?LARGE], On),
    ok = py:restart_worker(Worker),
    py_eventually:equals(1, fun files/0),
    ok = py:release(Shm).

a_killed_worker_process_leaves_nothing_that_nobody_owns(_Config) ->
    [#{worker := Worker} | _] = py:workers(),
    func(keep, [?LARGE], #{worker => Worker}),
    exit(Worker, kill),
    py_eventually:equals(0, fun files/0),
    py_eventually:holds(fun() -> length([W || #{worker := W, state := serving} <- py:workers()]) =:= 2 end).

a_sharer_killed_while_it_writes_leaves_nothing(_Config) ->
    Large = binary:copy(content(?LARGE), 512),
    [
        begin
            Caller = py_caller:start(fun() -> py:share(Large), receive never -> ok end end),
            %% So that it is killed before, in and after the writing.
            receive after Ms -> ok end,
            py_caller:kill(Caller)
        end
     || Ms <- [0, 1, 5, 20, 200]
    ],
    py_eventually:equals(0, fun files/0).

a_sharer_killed_while_it_waits_gets_no_file(_Config) ->
    Number = fun({'$py.shm', {_, Name, _, _}}) -> binary_to_integer(lists:nth(2, binary:split(Name, <<"-">>, [global]))) end,
    Before = Number(py:share(<<1>>)),
    ok = sys:suspend(py_shared_owner),
    Sharers = [py_caller:start(fun() -> py:share(content(?LARGE)) end) || _ <- lists:seq(1, 5)],
    Waiting = fun() -> element(2, process_info(whereis(py_shared_owner), message_queue_len)) end,
    py_eventually:equals(5, Waiting),
    lists:foreach(fun py_caller:kill/1, Sharers),
    ok = sys:resume(py_shared_owner),
    ?assertEqual(Before + 1, Number(py:share(<<2>>))),
    ?assertEqual(2, files()).

a_killed_owner_of_the_books_takes_the_files_along(_Config) ->
    Shm = py:share(content(?LARGE)),
    exit(whereis(py_shared_owner), kill),
    Answers = fun() -> try py:add(1, 2) =:= 3 andalso is_map(py:shared_memory()) catch error:_ -> false end end,
    py_eventually:holds(Answers),
    py_eventually:holds(fun() -> is_stale(Shm) end),
    ?assertEqual(0, files()),
    ok = py:release(py:share(<<"again">>)).

%%% Limits

the_limit_is_an_error_and_the_worker_lives(_Config) ->
    application:set_env(py, max_shared_bytes, 3 * ?LARGE),
    {ok, restarted} = py:restart(),
    Before = lists:sort([OsPid || #{os_pid := OsPid} <- py:workers()]),
    [First, _, _] = [shared(made, [<<"bytes">>, ?LARGE]) || _ <- [1, 2, 3]],
    [
        ?assertError({py, {shared_memory, "no room for 131072 bytes of shared memory: max_shared_bytes is 393216" ++ _}}, Full())
     || Full <- [
            fun() -> shared(made, [<<"bytes">>, ?LARGE]) end,
            fun() -> shared(made, [<<"bytes">>, ?LARGE]) end,
            fun() -> py:share(content(?LARGE)) end,
            fun() -> py:func(erl, share, [{bytes, content(?LARGE)}]) end
        ]
    ],
    ?assertMatch(#{files := 3, bytes := 393_216, max_bytes := 393_216}, py:shared_memory()),
    ok = py:release(First),
    ok = py:release(py:share(content(?LARGE))),
    %% Many at the same time never get more than there is.
    Outcomes = py_caller:results([py_caller:start(fun() -> shared(made, [<<"bytes">>, ?LARGE]) end) || _ <- lists:seq(1, 10)]),
    ?assertEqual([], [Outcome || Outcome <- Outcomes, not is_expected(Outcome)]),
    #{bytes := Bytes} = py:shared_memory(),
    ?assert(Bytes =< 393_216),
    ?assertEqual(Before, lists:sort([OsPid || #{os_pid := OsPid} <- py:workers()])).

is_expected({ok, {'$py.shm', _}}) -> true;
is_expected({error, {py, {shared_memory, _}}}) -> true;
is_expected(_) -> false.

what_is_mapped_does_not_count_as_the_worker_s_own(Config) ->
    {ok, _} = py:start_pool(small, (pool(Config))#{size => 1, max_memory => 128_000_000}),
    [#{os_pid := OsPid, worker := Worker}] = py:workers(small),
    Shm = py:share(binary:copy(content(?LARGE), 2_000)),
    %% Longer than it takes until a worker looks how large its Python is.
    Sum = py:func(py_sharing, slow_checksum, [Shm, 0.2], #{pool => small}),
    ?assertEqual(erlang:crc32(py:value(Shm)), Sum),
    ?assertEqual(Sum, py:func(py_sharing, slow_checksum, [Shm, 0.2], #{pool => small})),
    ?assertMatch([#{os_pid := OsPid, worker := Worker, restarts := 0}], py:workers(small)),
    ok = py:release(Shm).

a_limit_that_is_none_is_told(_Config) ->
    application:set_env(py, max_shared_bytes, lots),
    ?assertMatch({error, {py, {bad_config, py, {bad_option, max_shared_bytes, lots, _}}}}, py:start()),
    application:set_env(py, max_shared_bytes, 0),
    {ok, started} = py:start(),
    ?assertError({py, {shared_memory, _}}, py:share(<<1>>)).

made_up_terms_are_errors(_Config) ->
    Shm = py:share(content(?LARGE)),
    {_, {Node, Name, _, _}} = Shm,
    OsPids = lists:sort([OsPid || #{os_pid := OsPid} <- py:workers()]),
    [
        ?assertError({py, {decode, "a term of shared memory" ++ _}}, shared(same, [{'$py.shm', Payload}]))
     || Payload <- [
            foo,
            {},
            {Node, Name, {0, 1}},
            {Node, <<"../../../etc/passwd">>, {0, 1}, bytes},
            {Node, <<"/etc/passwd">>, {0, 1}, bytes},
            {Node, <<Name/binary, "/..">>, {0, 1}, bytes},
            {Node, <<Name/binary, 0>>, {0, 1}, bytes},
            {Node, <<Name/binary, "\n">>, {0, 1}, bytes},
            {Node, 12, {0, 1}, bytes},
            {"node", Name, {0, 1}, bytes},
            {Node, Name, {0, ?LARGE + 1}, bytes},
            {Node, Name, {?LARGE, 1}, bytes},
            {Node, Name, {-1, 1}, bytes},
            {Node, Name, {0, -1}, bytes},
            {Node, Name, {0, 1 bsl 64}, bytes},
            {Node, Name, {1 bsl 70, 0}, bytes},
            {Node, Name, {true, 1}, bytes},
            {Node, Name, {0.0, 1}, bytes},
            {Node, Name, 1, bytes},
            {Node, Name, {0, 1}, other},
            {Node, Name, {0, 8}, {"O", {1}}},
            {Node, Name, {0, 8}, {"|O8", {1}}},
            {Node, Name, {0, 8}, {"<f8", {2}}},
            {Node, Name, {0, 8}, {"<f8", {-1}}},
            {Node, Name, {0, 0}, {"V0", {9}}},
            {Node, Name, {0, 8}, {"<f8", [1]}},
            {Node, Name, {0, 8}, {[{"a", "O", {}}], {1}}},
            {Node, Name, {0, 8}, {"<f8,<f8", {1}}}
        ]
    ],
    ?assertError({py, {stale_reference, _}}, shared(same, [{'$py.shm', {Node, <<"0123456789abcdef-1-1">>, {0, 1}, bytes}}])),
    [
        ?assertError({py, {shared_memory, _}}, py:value({'$py.shm', Payload}))
     || Payload <- [
            {Node, <<"../../../etc/passwd">>, {0, 1}, bytes},
            {Node, <<Name/binary, 0>>, {0, 1}, bytes},
            {Node, Name, {0, 1 bsl 60}, bytes},
            {Node, Name, {?LARGE, 1}, bytes}
        ]
    ],
    ?assertError(badarg, py:value({'$py.shm', {Node, Name, {-1, 1}, bytes}})),
    ok = py:release({'$py.shm', {Node, <<"../../../etc/passwd">>, {0, 1}, bytes}}),
    ?assertEqual(content(?LARGE), py:value(Shm)),
    ?assertEqual(OsPids, lists:sort([OsPid || #{os_pid := OsPid} <- py:workers()])).

a_thousand_arrays_leave_no_file_and_no_descriptor(_Config) ->
    [#{worker := Worker} | _] = py:workers(),
    On = #{worker => Worker, arrays => shared},
    _ = py:release(py:func(py_sharing, made, [<<"bytes">>, ?LARGE], On)),
    Before = {Descriptors, Maps} = py:func(py_sharing, held, [], On),
    ?assertEqual(0, Maps),
    OwnDescriptors = own_descriptors(),
    [
        begin
            Made = py:func(py_sharing, made, [<<"bytes">>, ?LARGE], On),
            Again = py:func(py_sharing, second_half, [Made], On),
            ok = py:release([Made, Again])
        end
     || _ <- lists:seq(1, 500)
    ],
    %% And all at once, let go of by the end of their owner.
    Caller = py_caller:start(fun() ->
        Held = [py:func(py_sharing, made, [<<"bytes">>, ?LARGE], On) || _ <- lists:seq(1, 500)],
        _ = [?LARGE = py:func(builtins, len, [Shm], On) || Shm <- Held],
        ok
    end),
    ?assertEqual({ok, ok}, py_caller:result(Caller)),
    py_eventually:equals(0, fun files/0),
    py_eventually:equals(Before, fun() -> py:func(py_sharing, held, [], On) end),
    ?assert(Descriptors < 100),
    py_eventually:equals(OwnDescriptors, fun own_descriptors/0).

own_descriptors() ->
    {ok, Names} = file:list_dir("/proc/self/fd"),
    length(Names).

%%% The end

after_the_stop_no_file_is_left(_Config) ->
    Shm = py:share(content(?LARGE)),
    func(keep, [?LARGE]),
    Directory = filename:dirname(py_directory:path("shm")),
    ?assert(filelib:is_dir(Directory)),
    {ok, stopped} = py:stop(),
    ?assertNot(filelib:is_dir(Directory)),
    ?assertError({py, not_started}, py:value(Shm)),
    ?assertError({py, not_started}, py:share(<<1>>)),
    ?assertEqual({error, {py, not_started}}, py:shared_memory()),
    ?assertEqual(ok, py:release(Shm)),
    {ok, started} = py:start(),
    ?assertError({py, {stale_reference, _}}, py:value(Shm)).

what_a_killed_beam_leaves_the_next_start_takes_away(_Config) ->
    Start = "application:load(py), application:set_env(py, pools, [{default, #{size => 1}}]), {ok, started} = py:start(), "
        "S = py:share(<<0:8000000>>), py:func(builtins, bytes, [200000], #{arrays => shared}), "
        "io:format(\"~ts~n\", [py_directory:path(\"shm\")]), receive S -> ok end.",
    Port = open_port({spawn_executable, os:find_executable("erl")}, [
        {args, ["-noinput", "-pa", filename:dirname(code:which(py)), "-eval", Start]}, {line, 1_000}, exit_status, hide
    ]),
    {os_pid, Beam} = erlang:port_info(Port, os_pid),
    Directory = receive {Port, {data, {eol, Line}}} -> Line after 30_000 -> ct:fail(no_start) end,
    {ok, [_, _]} = file:list_dir(Directory),
    py_os_process:kill(Beam),
    receive {Port, {exit_status, _}} -> ok after 5_000 -> ct:fail(beam_lives) end,
    ?assert(filelib:is_dir(Directory)),
    {ok, restarted} = py:restart(),
    ?assertNot(filelib:is_dir(Directory)).

%%% By value

a_worker_without_shared_memory_gets_the_bytes(_Config) ->
    ?assertEqual(undefined, py_shared_owner:place(#{sandbox => true})),
    [#{worker := Worker} | _] = py:workers(),
    On = #{worker => Worker, arrays => shared},
    Shm = py:share(content(?LARGE)),
    undefined = py:func('erl.shared', set_place, [undefined], On),
    ?assertEqual(content(?LARGE), py:func(py_sharing, same, [Shm], On)),
    ?assertEqual(?LARGE, py:func(builtins, len, [Shm], On)),
    ?assertEqual([{a, content(?LARGE)}], py:func(py_sharing, same, [[{a, Shm}]], On)),
    ?assertError({py, {shared_memory, _}}, py:func(erl, share, [{bytes, <<1>>}], On)),
    ok = py:release(Shm),
    ?assertError({py, {stale_reference, _}}, py:func(builtins, len, [Shm], On)),
    ?assertEqual(0, files()).

a_function_that_meets_memory_of_elsewhere_runs_once(_Config) ->
    Mine = py:share(content(?LARGE)),
    Foreign = {'$py.shm', {'nobody@nowhere', <<"0123456789abcdef-1-1">>, {0, 1}, bytes}},
    Test = self(),
    Give = fun() ->
        Test ! asked,
        {ok, Foreign}
    end,
    ?assertError({py, {elsewhere, _}}, func(first_with, [Mine, py:source(Give)])),
    receive asked -> ok after 5_000 -> ct:fail(not_asked) end,
    py_eventually:equals(0, fun() -> lists:sum([Calls || #{in_flight := Calls} <- py:workers()]) end),
    ?assertMatch([_], ran(1)),
    flush(asked),
    ?assertError({py, {node_down, 'nobody@nowhere'}}, func(first_with, [Foreign, 1])),
    ?assertEqual([], ran(2)).

%% The workers on which `first_with' has run so often.
ran(Count) ->
    [Worker || #{worker := Worker} <- py:workers(), py:func(py_sharing, count_of_runs, [], #{worker => Worker}) =:= Count].

flush(Message) ->
    receive Message -> flush(Message) after 0 -> ok end.

another_node_gets_the_bytes(Config) ->
    Distribution = py_distribution:start(),
    try
        {ok, restarted} = py:restart(),
        {Peer, Node} = py_distribution:start_peer(),
        Lost = on_another_node(Node, Config),
        peer:stop(Peer),
        ?assertError({py, {node_down, Node}}, py:value(Lost)),
        ?assertError({py, {node_down, Node}}, py:len(Lost)),
        ?assertEqual(ok, py:release(Lost))
    after
        py_distribution:stop(Distribution)
    end,
    {ok, restarted} = py:restart().

on_another_node(Node, Config) ->
    {ok, started} = py_distribution:start_py(Node, [{default, pool(Config)}]),
    Content = content(?LARGE),
    Ours = py:share(Content),
    ?assertEqual(Content, py:func(builtins, bytes, [Ours], #{node => Node})),
    ?assertEqual([{a, Content}], py:func(py_sharing, same, [[{a, Ours}]], #{node => Node})),
    ?assertEqual(Content, erpc:call(Node, py, value, [Ours])),
    Theirs = py:func(py_sharing, made, [<<"bytes">>, ?LARGE], #{node => Node, arrays => shared}),
    ?assertMatch({'$py.shm', {Node, _, _, _}}, Theirs),
    ?assertEqual(Content, py:value(Theirs)),
    ?assertEqual(Content, py:func(builtins, bytes, [Theirs])),
    ?assertEqual(?LARGE, py:func(builtins, len, [Theirs], #{node => Node})),
    ?assertEqual(iolist_to_binary(lists:reverse([py:value(Part) || Part <- lists:reverse(py:split(Theirs, 3))])), Content),
    %% The owner is here, and so is its end.
    Caller = py_caller:start(fun() -> py:func(py_sharing, made, [<<"bytes">>, ?LARGE], #{node => Node, arrays => shared}) end),
    {ok, Owned} = py_caller:result(Caller),
    py_eventually:holds(fun() -> is_stale(Owned) end),
    ok = py:release([Ours, Theirs]),
    py_eventually:equals(0, fun files/0),
    %% Kept here for its owner, and taken or not.
    There = #{node => Node, arrays => shared},
    FilesThere = fun() -> maps:get(files, erpc:call(Node, py, shared_memory, [])) end,
    py_eventually:equals(0, FilesThere),
    Cancelled = py:async(py_sharing, made, [<<"bytes">>, ?LARGE], There),
    py_eventually:equals(1, FilesThere),
    Mapped = [_, _] = py:pmap(py_sharing, bytes_or_failure, [?LARGE, ?LARGE], There),
    Awaited = py:await(py:async(py_sharing, made, [<<"bytes">>, ?LARGE], There)),
    ok = py:cancel(Cancelled),
    py_eventually:equals(3, FilesThere),
    ?assertEqual([Content], lists:usort([py:value(Shm) || Shm <- [Awaited | Mapped]])),
    ok = py:release([Awaited | Mapped]),
    py_eventually:equals(0, FilesThere),
    ?assertError({py, {stale_reference, _}}, py:func(builtins, len, [Ours], #{node => Node})),
    py:func(py_sharing, made, [<<"bytes">>, ?LARGE], #{node => Node, arrays => shared}).

%%% What the cases have in common

func(Function, Args) -> py:func(py_sharing, Function, Args).

func(Function, Args, Options) when is_map(Options) -> py:func(py_sharing, Function, Args, Options).

shared(Function, Args) -> py:func(py_sharing, Function, Args, #{arrays => shared}).

content(Size) -> binary:copy(list_to_binary(lists:seq(0, 255)), Size div 256).

files() ->
    #{files := Files} = py:shared_memory(),
    Files.

is_stale(Shm) ->
    try py:value(Shm) of
        _ -> false
    catch
        error:{py, {stale_reference, _}} -> true
    end.
