%%% Streams of Python's items and sources of Erlang's: shapes, order, windows, ends of every kind, and nothing left.
-module(py_stream_SUITE).

-include_lib("common_test/include/ct.hrl").
-include_lib("stdlib/include/assert.hrl").

-export([suite/0, all/0, init_per_testcase/2, end_per_testcase/2]).
-export([
    each_kind_of_iterable_is_streamed_in_order/1,
    stream_takes_each_form_of_func/1,
    options_say_what_items_look_like/1,
    items_can_stay_in_python/1,
    a_wrong_argument_is_badarg/1,
    what_can_not_be_iterated_is_an_error_at_once/1,
    nothing_runs_before_an_item_is_read/1,
    python_is_never_further_ahead_than_the_window/1,
    a_slow_item_does_not_wait_for_the_next_one/1,
    a_reader_whose_time_is_over_loses_nothing/1,
    several_readers_share_the_items/1,
    an_async_generator_keeps_its_context_and_its_task/1,
    async_generators_run_beside_each_other/1,
    an_async_generator_may_be_fed_by_one_of_its_loop/1,
    what_an_async_generator_prints_is_its_readers/1,
    what_an_async_generator_raises_ends_no_loop/1,
    closing_a_stream_closes_its_generator/1,
    closing_a_stream_interrupts_its_generator/1,
    closing_a_stream_fails_as_its_generator_does/1,
    a_stream_ends_with_its_owner/1,
    a_stream_that_nobody_reads_is_freed_with_its_owner/1,
    a_fold_that_fails_closes_the_stream/1,
    what_came_before_an_error_is_delivered/1,
    an_item_without_a_term_costs_no_other_item/1,
    a_worker_that_dies_is_told_after_the_items/1,
    a_batch_that_takes_too_long_ends_the_stream/1,
    a_stream_outlives_the_application_by_what_it_has/1,
    a_million_items_take_no_room/1,
    a_source_is_an_iterator_at_any_depth/1,
    a_source_may_be_a_gen_server/1,
    items_of_a_source_are_mapped_like_arguments/1,
    a_slow_source_item_does_not_wait_for_the_next_one/1,
    a_source_that_crashes_is_an_exception_after_its_items/1,
    a_source_ends_with_its_iterator/1,
    a_source_ends_with_its_owner/1,
    a_million_items_of_a_source_take_no_room/1,
    a_generator_reads_a_source_while_it_is_streamed/1,
    a_stream_may_feed_a_source_of_the_same_worker/1,
    streams_and_sources_reach_other_nodes/1
]).

suite() -> [{timetrap, {minutes, 5}}].

all() ->
    [
        each_kind_of_iterable_is_streamed_in_order,
        stream_takes_each_form_of_func,
        options_say_what_items_look_like,
        items_can_stay_in_python,
        a_wrong_argument_is_badarg,
        what_can_not_be_iterated_is_an_error_at_once,
        nothing_runs_before_an_item_is_read,
        python_is_never_further_ahead_than_the_window,
        a_slow_item_does_not_wait_for_the_next_one,
        a_reader_whose_time_is_over_loses_nothing,
        several_readers_share_the_items,
        an_async_generator_keeps_its_context_and_its_task,
        async_generators_run_beside_each_other,
        an_async_generator_may_be_fed_by_one_of_its_loop,
        what_an_async_generator_prints_is_its_readers,
        what_an_async_generator_raises_ends_no_loop,
        closing_a_stream_closes_its_generator,
        closing_a_stream_interrupts_its_generator,
        closing_a_stream_fails_as_its_generator_does,
        a_stream_ends_with_its_owner,
        a_stream_that_nobody_reads_is_freed_with_its_owner,
        a_fold_that_fails_closes_the_stream,
        what_came_before_an_error_is_delivered,
        an_item_without_a_term_costs_no_other_item,
        a_worker_that_dies_is_told_after_the_items,
        a_batch_that_takes_too_long_ends_the_stream,
        a_stream_outlives_the_application_by_what_it_has,
        a_million_items_take_no_room,
        a_source_is_an_iterator_at_any_depth,
        a_source_may_be_a_gen_server,
        items_of_a_source_are_mapped_like_arguments,
        a_slow_source_item_does_not_wait_for_the_next_one,
        a_source_that_crashes_is_an_exception_after_its_items,
        a_source_ends_with_its_iterator,
        a_source_ends_with_its_owner,
        a_million_items_of_a_source_take_no_room,
        a_generator_reads_a_source_while_it_is_streamed,
        a_stream_may_feed_a_source_of_the_same_worker,
        streams_and_sources_reach_other_nodes
    ].

init_per_testcase(Case, Config) ->
    Pool = #{size => 1, python_path => [?config(data_dir, Config)]},
    ok = py_application:start([{default, Pool}, {other, Pool#{strings => binary}}]),
    File = filename:join(?config(priv_dir, Config), atom_to_list(Case)),
    _ = file:delete(File),
    [{file, File}, {path, unicode:characters_to_binary(File)} | Config].

%% A case may leave what belongs to it: that ends with it, and the application does not wait for it.
end_per_testcase(_Case, _Config) ->
    try py_eventually:equals([], fun processes_of_streams/0) of
        ok -> py_application:stop()
    catch
        error:{never, #{last := Left}} ->
            _ = py_application:stop(),
            {fail, {streams_left, Left}}
    end.

%% Those of the streams and the sources: what they are waiting in says what they are.
processes_of_streams() ->
    [
        {Pid, Stack}
     || Pid <- processes(),
        {current_stacktrace, Stack} <- [process_info(Pid, current_stacktrace)],
        lists:any(fun is_ours/1, [element(1, proc_lib:translate_initial_call(Pid)) | [M || {M, _, _, _} <- Stack]])
    ].

is_ours(Module) -> Module =:= py_stream orelse Module =:= py_source.

stream(Function, Args) -> stream(Function, Args, #{}).

stream(Function, Args, Options) -> py:stream(py_streams, Function, Args, Options).

%% All that is left.
items(Stream) -> lists:reverse(py:stream_fold(fun(Item, Acc) -> [Item | Acc] end, [], Stream)).

next(Stream, Count) -> [element(2, {ok, _} = py:stream_next(Stream)) || _ <- lists:seq(1, Count)].

%% All that is left, one by one.
rest(Stream) ->
    case py:stream_next(Stream) of
        {ok, Item} -> [Item | rest(Stream)];
        done -> []
    end.

%% The lines that the generator's `finally' has written.
marks(Config) ->
    case file:read_file(?config(file, Config)) of
        {ok, Text} -> binary_to_list(Text);
        {error, enoent} -> ""
    end.

references() -> lists:sum([Count || #{references := Count} <- py:workers()]).

%%% What is streamed

each_kind_of_iterable_is_streamed_in_order(_Config) ->
    Counted = lists:seq(0, 999),
    [
        begin
            ?assertEqual(Expected, items(stream(Function, Args)), Function),
            ?assertEqual(Expected, rest(stream(Function, Args)), Function),
            Begun = stream(Function, Args, #{window => 3}),
            ?assertEqual(Expected, next(Begun, min(1, length(Expected))) ++ items(Begun), Function),
            ?assertEqual(done, py:stream_next(Begun))
        end
     || {Function, Args, Expected} <- [
            {count, [1000], Counted},
            {count_async, [1000], Counted},
            {count, [0], []},
            {count_async, [0], []},
            {'Countdown', [1000], lists:reverse(Counted)},
            {'Indexed', [], [1, 2, 3]},
            {listed, [Counted], Counted}
        ]
    ],
    ?assertEqual([0, 1, 2], items(py:stream(builtins, range, [3]))),
    ?assertEqual(["a", "b"], items(py:stream(builtins, list, [#{<<"a">> => 1, <<"b">> => 2}]))).

stream_takes_each_form_of_func(_Config) ->
    [
        ?assertEqual(["a"], items(Stream))
     || Stream <- [
            py:stream(py_streams, letter, #{window => 1}),
            py:stream('py_streams.letter'),
            py:stream('py_streams.letter', []),
            py:stream(py_streams, letter),
            py:stream(builtins, iter, [[<<"a">>]]),
            py:stream(<<"builtins.iter">>, [[<<"a">>]]),
            py:stream(builtins, map, [py:const(builtins, str), [<<"a">>]], #{}),
            py:stream('builtins.sorted', [[<<"a">>]], [{reverse, true}]),
            py:stream(builtins, sorted, [[<<"a">>]], [{reverse, true}]),
            py:stream(builtins, sorted, [[<<"a">>]], #{reverse => true}, #{window => 2}),
            py:stream(py:const(builtins, reversed), [[<<"a">>]]),
            py:stream(py:iter([<<"a">>])),
            py:stream([<<"a">>]),
            py:stream(builtins, iter, [[<<"a">>]], #{pool => other, strings => list})
        ]
    ].

options_say_what_items_look_like(_Config) ->
    ?assertEqual(["a", {"dict", [{"a", "b"}]}, <<"c">>], items(stream(values, []))),
    ?assertEqual([<<"a">>, #{<<"a">> => <<"b">>}, <<"c">>],
        items(stream(values, [], #{strings => binary, dicts => map}))),
    %% The pool's own, and a call's are nearer.
    ?assertEqual([<<"a">>, {"dict", [{<<"a">>, <<"b">>}]}, <<"c">>], items(stream(values, [], #{pool => other}))),
    ?assertEqual(["a", {"dict", [{"a", "b"}]}, <<"c">>],
        items(stream(values, [], #{pool => other, strings => list}))),
    ?assertEqual(["'a'", "b'b'"], items(stream(echo, [<<"a">>, {bytes, <<"b">>}]))),
    ?assertEqual(["b'a'"], items(stream(echo, [<<"a">>], #{binaries => bytes}))),
    [#{worker := Worker, os_pid := OsPid}] = py:workers(other),
    [?assertEqual([OsPid], items(stream(pids, [], Where))) || Where <- [#{worker => Worker}, #{pool => other}]].

items_can_stay_in_python(_Config) ->
    Stream = stream(values, [], #{return => ref}),
    [A, Dict, _] = Items = rest(Stream),
    ?assert(lists:all(fun py_term:is_ref/1, Items)),
    ?assertEqual("A", py:method(A, upper)),
    ?assertEqual(["b"], py:pylist(py:method(Dict, values))),
    %% They belong to the owner of the stream, and outlive it.
    py_eventually:equals([], fun processes_of_streams/0),
    py_eventually:equals(4, fun references/0),
    ok = py:release(Items),
    py_eventually:equals(1, fun references/0).

a_wrong_argument_is_badarg(_Config) ->
    Stream = stream(count, [3]),
    Self = self(),
    [
        ?assertError(badarg, Wrong())
     || Wrong <- [
            fun() -> py:stream(py_streams, count, 3) end,
            fun() -> py:stream(py_streams, count, [3], #{window => 0}) end,
            fun() -> py:stream(py_streams, count, [3], #{windows => 1}) end,
            fun() -> py:stream(py_streams, count, [3], #{timeout => soon}) end,
            fun() -> py:stream_next(Self) end,
            fun() -> py:stream_next(Stream, -1) end,
            fun() -> py:stream_next({'$py.stream', stream}) end,
            fun() -> py:stream_fold(fun(_) -> ok end, 0, Stream) end,
            fun() -> py:stream_fold(fun(_, Acc) -> Acc end, 0, Self) end,
            fun() -> py:stream_close(Self) end,
            fun() -> py:source([1, 2]) end,
            fun() -> py:source(fun(Item) -> Item end) end,
            fun() -> py:source(Self, #{binaries => list}) end,
            fun() -> py:source(Self, #{window => 1}) end
        ]
    ],
    try py:stream(py_streams, count, [3], #{windows => 1}) catch
        error:badarg:Stack ->
            ?assertMatch([{py, stream, [py_streams, count, [3], #{windows := 1}], _}, {?MODULE, _, _, _} | _], Stack),
            #{4 := Text} = py_error:format_error(badarg, Stack),
            ?assertMatch(<<"unknown option windows (did you mean window?); there are ", _/binary>>, Text)
    end,
    ?assertEqual([0, 1, 2], items(Stream)),
    ?assertEqual(0, length(processes_of_streams())).

what_can_not_be_iterated_is_an_error_at_once(_Config) ->
    ?assertError({python, 'builtins.TypeError', _, _}, py:stream(builtins, int, [3])),
    ?assertError({python, 'builtins.TypeError', _, _}, py:stream(3)),
    ?assertError({python, 'builtins.AttributeError', _, _}, stream(nothing, [])),
    ?assertError({py, {unknown_pool, none}}, stream(count, [3], #{pool => none})),
    py_eventually:equals([], fun processes_of_streams/0).

%%% Flow

nothing_runs_before_an_item_is_read(_Config) ->
    Stream = stream(counting, []),
    ?assertEqual(0, py:func(py_streams, progress)),
    ?assertEqual({ok, 1}, py:stream_next(Stream)),
    ?assert(py:func(py_streams, progress) >= 1),
    ok = py:stream_close(Stream).

python_is_never_further_ahead_than_the_window(_Config) ->
    [
        begin
            Stream = stream(Counting, [], #{window => Window}),
            _ = next(Stream, 1),
            settles_ahead(Window, 1),
            _ = next(Stream, 5 * Window),
            settles_ahead(Window, 5 * Window + 1),
            ok = py:stream_close(Stream),
            folded_within(Counting, Window)
        end
     || Counting <- [counting, counting_async], Window <- [1, 2, 3, 10, 256]
    ].

%% A consumer that stops makes the producer stop, when the window is full or nearly so.
settles_ahead(Window, Read) ->
    Ahead = fun() -> py:func(py_streams, progress) - Read end,
    py_eventually:holds(fun() -> Ahead() * 2 >= Window end),
    %% What must not come does not say when: so a few calls are made that would have come after it.
    [?assert(Ahead() =< Window) || _ <- lists:seq(1, 50)].

folded_within(Counting, Window) ->
    Check = fun(Item, Count) ->
        Item rem 7 =:= 0 andalso ?assert(py:func(py_streams, progress) - (Item - 1) =< Window),
        Item < 3 * Window + 20 orelse throw({read, Count + 1}),
        Count + 1
    end,
    ?assertEqual({read, 3 * Window + 20}, catch py:stream_fold(Check, 0, stream(Counting, [], #{window => Window}))),
    py_eventually:equals([], fun processes_of_streams/0).

a_slow_item_does_not_wait_for_the_next_one(_Config) ->
    %% The second one never comes.
    Stuck = stream(stuck, [<<"/dev/null">>]),
    ?assertEqual({ok, 1}, py:stream_next(Stuck)),
    ok = py:stream_close(Stuck),
    %% Each one is here before the one after it is made.
    Slow = stream(slow, [1.5, 4]),
    Times = [
        begin
            {ok, Made} = py:stream_next(Slow),
            {Made, erlang:system_time(millisecond) / 1000}
        end
     || _ <- lists:seq(1, 4)
    ],
    ?assertEqual(done, py:stream_next(Slow)),
    {Mades, Heres} = lists:unzip(Times),
    [?assert(Here < Next, Times) || {Here, Next} <- lists:zip(lists:droplast(Heres), tl(Mades))].

a_reader_whose_time_is_over_loses_nothing(Config) ->
    Stream = stream(waiting, [?config(path, Config)]),
    [?assertError({py, timeout}, py:stream_next(Stream, Timeout)) || Timeout <- [0, 1, 20]],
    ok = file:write_file(?config(file, Config), ""),
    ?assertEqual({ok, "here"}, py:stream_next(Stream, 10_000)),
    ?assertEqual(done, py:stream_next(Stream, 10_000)),
    %% Readers that give up all the time see each item once.
    ?assertEqual(lists:seq(0, 499), impatient(stream(count, [500], #{window => 2}))).

impatient(Stream) ->
    try py:stream_next(Stream, 0) of
        {ok, Item} -> [Item | impatient(Stream)];
        done -> []
    catch
        error:{py, timeout} -> impatient(Stream)
    end.

several_readers_share_the_items(_Config) ->
    Stream = stream(count, [2000]),
    Readers = [spawn_monitor(fun() -> exit({read, read(Nth, Stream)}) end) || Nth <- lists:seq(1, 6)],
    Read = [receive {'DOWN', Monitor, process, Pid, {read, Items}} -> Items end || {Pid, Monitor} <- Readers],
    ?assertEqual(lists:seq(0, 1999), lists:sort(lists:append(Read))).

read(Nth, Stream) when Nth rem 2 =:= 0 -> items(Stream);
read(_, Stream) -> rest(Stream).

an_async_generator_keeps_its_context_and_its_task(_Config) ->
    ?assertEqual([{Nth, true} || Nth <- lists:seq(1, 100)], items(stream(own_context, [100], #{window => 4}))).

%% Each item of one waits for the items of all others, and all have a session that is their loop's, with coroutines.
async_generators_run_beside_each_other(_Config) ->
    Count = 20,
    Readers = [py_caller:start(fun() -> items(stream(meeting, [N, Count, 5])) end) || N <- lists:seq(1, Count)],
    ?assertEqual([{ok, [{N, Round} || Round <- lists:seq(0, 4)]} || N <- lists:seq(1, Count)], py_caller:results(Readers)),
    ?assertEqual(true, py:func(py_streams, has_the_sessions_loop)),
    %% One that gives nothing holds up neither a stream nor a call.
    Stuck = stream(stuck_async, [<<"/dev/null">>]),
    ?assertEqual([1], next(Stuck, 1)),
    ?assertEqual(lists:seq(0, 99), items(stream(count_async, [100]))),
    ?assertEqual(3, py:add(1, 2)),
    ok = py:stream_close(Stuck).

an_async_generator_may_be_fed_by_one_of_its_loop(_Config) ->
    In = stream(count_async, [500]),
    Out = stream(doubled_later, [py:source(fun() -> py:stream_next(In) end)]),
    ?assertEqual([2 * Item || Item <- lists:seq(0, 499)], items(Out)).

what_an_async_generator_prints_is_its_readers(_Config) ->
    Printed = fun(N) ->
        py_caller:start(fun() ->
            {_, Leader} = py_output:of_call(fun() -> items(stream(saying, [N, 10], #{window => 2})) end),
            py_output:text(Leader)
        end)
    end,
    Said = fun(N) -> lists:append(lists:duplicate(10, integer_to_list(N) ++ "\n")) end,
    [
        ?assertEqual({ok, Said(N)}, Result)
     || {N, Result} <- lists:enumerate(py_caller:results([Printed(N) || N <- lists:seq(1, 5)]))
    ].

what_an_async_generator_raises_ends_no_loop(_Config) ->
    Other = py_caller:start(fun() -> py:func(asyncio, sleep, [1.0, there]) end),
    [
        begin
            Stream = stream(raising_a_kind, [Kind]),
            ?assertEqual({ok, 1}, py:stream_next(Stream)),
            ?assertError({python, _, _, _}, py:stream_next(Stream))
        end
     || Kind <- [<<"SystemExit">>, <<"KeyboardInterrupt">>, <<"MemoryError">>, <<"GeneratorExit">>]
    ],
    ?assertEqual({ok, there}, py_caller:result(Other)).

%%% Ends

closing_a_stream_closes_its_generator(Config) ->
    [
        begin
            _ = file:delete(?config(file, Config)),
            Stream = stream(Function, [?config(path, Config), 1000]),
            ?assertEqual([0, 1], next(Stream, 2)),
            ?assertEqual("", marks(Config)),
            ?assertEqual(ok, py:stream_close(Stream)),
            ?assertEqual("finally\n", marks(Config)),
            ?assertEqual(done, py:stream_next(Stream)),
            ?assertEqual([], items(Stream)),
            ?assertEqual(ok, py:stream_close(Stream))
        end
     || Function <- [marked, marked_async]
    ],
    %% One that has not begun has nothing to end, one that has ended did so by itself.
    ?assertEqual(ok, py:stream_close(stream(marked, [?config(path, Config), 3]))),
    Ended = stream(marked, [?config(path, Config), 3]),
    ?assertEqual([0, 1, 2], items(Ended)),
    ?assertEqual(ok, py:stream_close(Ended)),
    ?assertEqual("finally\nfinally\n", marks(Config)),
    py_eventually:equals(0, fun references/0).

closing_a_stream_interrupts_its_generator(Config) ->
    [#{os_pid := OsPid}] = py:workers(default),
    [
        begin
            _ = file:delete(?config(file, Config)),
            Stream = stream(Function, [?config(path, Config)]),
            ?assertEqual({ok, 1}, py:stream_next(Stream)),
            ?assertError({py, timeout}, py:stream_next(Stream, 50)),
            ?assertEqual(ok, py:stream_close(Stream)),
            ?assertEqual("finally\n", marks(Config))
        end
     || Function <- [stuck, stuck_async]
    ],
    %% It was not killed.
    ?assertMatch([#{os_pid := OsPid}], py:workers(default)).

closing_a_stream_fails_as_its_generator_does(_Config) ->
    Stream = stream(bad_finally, []),
    ?assertEqual({ok, 0}, py:stream_next(Stream)),
    ?assertError({python, 'builtins.ValueError', "finally", _}, py:stream_close(Stream)),
    ?assertEqual(ok, py:stream_close(Stream)).

a_stream_ends_with_its_owner(Config) ->
    [
        begin
            _ = file:delete(?config(file, Config)),
            Test = self(),
            Owner = spawn(fun() ->
                Stream = stream(Function, [?config(path, Config) | Rest]),
                Test ! {made, Stream, py:stream_next(Stream)},
                receive stop -> ok end
            end),
            Made = receive {made, Stream, {ok, _}} -> Stream end,
            exit(Owner, Reason),
            py_eventually:equals("finally\n", fun() -> marks(Config) end),
            py_eventually:equals([], fun processes_of_streams/0),
            py_eventually:equals(0, fun references/0),
            ?assertEqual(done, py:stream_next(Made))
        end
     || {Function, Rest} <- [{marked, [1000]}, {marked_async, [1000]}, {stuck, []}, {stuck_async, []}],
        Reason <- [kill, shutdown]
    ].

a_stream_that_nobody_reads_is_freed_with_its_owner(_Config) ->
    Owner = spawn(fun() ->
        _ = [stream(count, [1000]) || _ <- lists:seq(1, 10)],
        receive stop -> ok end
    end),
    py_eventually:equals(10, fun references/0),
    Owner ! stop,
    py_eventually:equals(0, fun references/0),
    py_eventually:equals([], fun processes_of_streams/0).

a_fold_that_fails_closes_the_stream(Config) ->
    Stream = stream(marked, [?config(path, Config), 1000]),
    ?assertThrow(enough, py:stream_fold(fun(5, _) -> throw(enough); (Item, _) -> Item end, none, Stream)),
    py_eventually:equals("finally\n", fun() -> marks(Config) end),
    ?assertEqual(done, py:stream_next(Stream)).

what_came_before_an_error_is_delivered(_Config) ->
    [
        begin
            Stream = stream(Function, [Count]),
            ?assertEqual(lists:seq(0, Count - 1), next(Stream, Count)),
            ?assertError({python, Class, _, _}, py:stream_next(Stream)),
            ?assertEqual(done, py:stream_next(Stream)),
            Folded = stream(Function, [Count]),
            Collect = fun(Item, Acc) -> seen(Item), Acc end,
            ?assertError({python, Class, _, _}, py:stream_fold(Collect, 0, Folded)),
            ?assertEqual(Count, erase(seen)),
            ?assertEqual(done, py:stream_next(Folded))
        end
     || {Function, Class} <- [
            {raising, 'builtins.ValueError'},
            {raising_async, 'builtins.ValueError'},
            {leaving, 'builtins.SystemExit'}
        ],
        Count <- [1, 2, 3, 100, 1000]
    ],
    ?assertError({python, 'builtins.ValueError', _, [{_, _, "raising", _} | _]}, items(stream(raising, [0]))).

%% How many items this process has seen.
seen(_Item) ->
    put(seen, case get(seen) of undefined -> 1; Count -> Count + 1 end).

an_item_without_a_term_costs_no_other_item(_Config) ->
    [
        begin
            Stream = stream(unencodable, [Count]),
            ?assertEqual(lists:seq(0, Count - 1), next(Stream, Count)),
            ?assertError({py, {encode, _}}, py:stream_next(Stream)),
            ?assertEqual(done, py:stream_next(Stream))
        end
     || Count <- [0, 1, 2, 100, 300]
    ].

a_worker_that_dies_is_told_after_the_items(_Config) ->
    %% While nobody asks it, and while it has the call.
    Idle = stream(count, [1000], #{window => 10}),
    ?assertEqual([0], next(Idle, 1)),
    killed(),
    Read = read_until_down(Idle),
    ?assertEqual(lists:seq(1, length(Read)), Read),
    ?assertEqual(done, py:stream_next(Idle)),
    Busy = stream(stuck, [<<"/dev/null">>]),
    ?assertEqual({ok, 1}, py:stream_next(Busy)),
    ?assertError({py, timeout}, py:stream_next(Busy, 50)),
    killed(),
    ?assertEqual([], read_until_down(Busy)),
    ?assertEqual(done, py:stream_next(Busy)),
    %% Closing what is gone is no error.
    Closed = stream(count, [1000]),
    ?assertEqual([0], next(Closed, 1)),
    killed(),
    ?assertEqual(ok, py:stream_close(Closed)).

killed() ->
    [#{os_pid := OsPid}] = py:workers(default),
    py_os_process:kill(OsPid),
    py_eventually:holds(fun() -> [OsPid, serving] =/= [O || #{os_pid := O} <- py:workers(default)] end),
    py_eventually:equals([serving], fun() -> [S || #{os_pid := O, state := S} <- py:workers(default), O =/= OsPid] end).

read_until_down(Stream) ->
    try py:stream_next(Stream) of
        {ok, Item} -> [Item | read_until_down(Stream)]
    catch
        error:{py, {worker_down, Reason}} ->
            ?assert(is_list(lists:flatten(io_lib:format("~ts", [py_error:text({py, {worker_down, Reason}})])))),
            []
    end.

a_batch_that_takes_too_long_ends_the_stream(Config) ->
    Stream = stream(stuck, [?config(path, Config)], #{timeout => 1_000}),
    ?assertEqual({ok, 1}, py:stream_next(Stream)),
    ?assertError({py, timeout}, py:stream_next(Stream)),
    ?assertEqual(done, py:stream_next(Stream)),
    py_eventually:equals("finally\n", fun() -> marks(Config) end).

a_stream_outlives_the_application_by_what_it_has(_Config) ->
    Stream = stream(count, [1000], #{window => 10}),
    ?assertEqual([0], next(Stream, 1)),
    {ok, stopped} = py:stop(),
    ?assertError({py, _}, [py:stream_next(Stream) || _ <- lists:seq(1, 11)]),
    ?assertEqual(done, py:stream_next(Stream)).

%%% Room

-define(MILLION, 1_000_000).
-define(ROOM_BYTES, 20_000_000).

a_million_items_take_no_room(_Config) ->
    {Look, Most} = room_watch(),
    Stream = stream(count, [?MILLION]),
    Sum = py:stream_fold(fun(Item, Acc) -> Look(Item), Item + Acc end, 0, Stream),
    ?assertEqual(?MILLION * (?MILLION - 1) div 2, Sum),
    ?assert(Most() < ?ROOM_BYTES, Most()).

a_million_items_of_a_source_take_no_room(_Config) ->
    {Look, Most} = room_watch(),
    Source = py:source(counter(?MILLION, Look)),
    ?assertEqual(?MILLION * (?MILLION - 1) div 2, py:func(py_streams, total, [Source])),
    ?assert(Most() < ?ROOM_BYTES, Most()).

%% A look at the room that is taken, for now and then an item, and the most that it has found more than now.
room_watch() ->
    %% So that what everybody needs is there.
    ?assertEqual([0], items(stream(count, [1]))),
    Before = room(),
    Most = atomics:new(1, []),
    Look = fun(Item) -> Item rem 20_000 =:= 0 andalso atomics:put(Most, 1, max(atomics:get(Most, 1), room() - Before)) end,
    {Look, fun() -> atomics:get(Most, 1) end}.

%% Of the processes here and of the worker there.
room() ->
    [#{memory_bytes := Python}] = py:workers(default),
    Python + erlang:memory(processes_used) + erlang:memory(binary).

%%% Sources

%% A function that counts up to a number, in whatever process it runs.
counter(Most) -> counter(Most, fun(_) -> ok end).

counter(Most, Look) ->
    Counter = counters:new(1, []),
    fun() ->
        Item = counters:get(Counter, 1),
        counters:add(Counter, 1, 1),
        Look(Item),
        case Item < Most of
            true -> {ok, Item};
            false -> done
        end
    end.

%% A function that gives what is in a list, then the end.
given(Answers) ->
    Next = counter(length(Answers)),
    fun() ->
        case Next() of
            {ok, Index} -> lists:nth(Index + 1, Answers);
            done -> done
        end
    end.

a_source_is_an_iterator_at_any_depth(_Config) ->
    Counted = lists:seq(0, 999),
    Source = fun() -> py:source(counter(1000)) end,
    ?assertEqual(Counted, py:pylist(Source())),
    ?assertEqual(Counted, py:func(py_streams, listed, [Source()])),
    ?assertEqual(Counted, py:func(py_streams, listed, [], [{items, Source()}])),
    ?assertEqual(Counted, py:pycall(py_streams, listed, [Source()])),
    ?assertEqual([499500, 499500], py:func(py_streams, nested, [#{<<"sources">> => [Source(), Source()]}])),
    ?assertEqual(0, py:next(Source())),
    ?assertEqual([], py:pylist(py:source(fun() -> done end))),
    %% Several items at once, also none.
    ?assertEqual([1, 2, 3, 4, 5, 6],
        py:pylist(py:source(given([{ok, 1}, [2, 3], [], [], {ok, 4}, [5, 6], []])))),
    ?assertEqual(Counted, py:pylist(py:source(given([Counted])))),
    %% Read once.
    Once = Source(),
    ?assertEqual(Counted, py:pylist(Once)),
    ?assertError({source_gone, _}, py:pylist(Once)).

a_source_may_be_a_gen_server(_Config) ->
    Test = self(),
    Server = spawn_link(fun() -> serve(lists:seq(1, 1000), Test) end),
    ?assertEqual(lists:seq(1, 1000), py:pylist(py:source(Server))),
    Server ! stop,
    receive {asked, Most} -> ?assert(Most > 0 andalso Most =< 256) end,
    %% One that is gone.
    py_eventually:equals(false, fun() -> is_process_alive(Server) end),
    ?assertMatch([[], "ErlangError", exit, {noproc, _}], py:func(py_streams, caught, [py:source(Server)])).

%% What `gen_server:reply/2' and `handle_call/3' make of it.
serve(Items, Test) ->
    receive
        {'$gen_call', From, {py_next, _}} when Items =:= [] ->
            gen_server:reply(From, done),
            serve(Items, Test);
        {'$gen_call', From, {py_next, Most}} ->
            {Some, Left} = lists:split(min(Most, length(Items)), Items),
            gen_server:reply(From, Some),
            put(most, max(Most, case get(most) of undefined -> 0; Before -> Before end)),
            serve(Left, Test);
        stop ->
            Test ! {asked, get(most)}
    end.

items_of_a_source_are_mapped_like_arguments(_Config) ->
    Items = [<<"a">>, {bytes, <<"a">>}, "a", #{<<"k">> => {"date", {1923, 4, 2}}}, [b], undefined, 1.5],
    Source = fun(Options) -> py:source(given([Items]), Options) end,
    Shown = "['a', b'a', [97], {'k': datetime.date(1923, 4, 2)}, [Atom('b')], None, 1.5]",
    ?assertEqual(Shown, py:repr(Items)),
    ?assertEqual(Shown, py:func(builtins, repr, [py:func(builtins, list, [Source(#{})], #{return => ref})])),
    Raw = "[b'a', b'a', [97], {b'k': datetime.date(1923, 4, 2)}, [Atom('b')], None, 1.5]",
    Bytes = Source(#{binaries => bytes}),
    ?assertEqual(Raw, py:func(builtins, repr, [py:func(builtins, list, [Bytes], #{return => ref})])),
    %% What can't be a str is told when its batch is read.
    ?assertError({py, {decode, _}}, py:pylist(py:source(given([{ok, <<255>>}])))).

a_slow_source_item_does_not_wait_for_the_next_one(_Config) ->
    %% The second one never comes.
    Source = py:source(fun() ->
        case put(begun, true) of
            undefined -> {ok, first};
            true -> receive never -> done end
        end
    end),
    ?assertEqual([first], py:func(py_streams, first, [Source, 1])).

a_source_that_crashes_is_an_exception_after_its_items(_Config) ->
    [
        begin
            Items = lists:seq(1, Count),
            Crashes = given([{ok, Item} || Item <- Items] ++ [crash]),
            Source = py:source(fun() -> case Crashes() of crash -> Crash(); Item -> Item end end),
            ?assertEqual([Items, "ErlangError", Class, Reason], py:func(py_streams, caught, [Source]))
        end
     || {Crash, Class, Reason} <- [
            {fun() -> error(oops) end, error, oops},
            {fun() -> throw(oops) end, throw, oops},
            {fun() -> exit({oops, 1}) end, exit, {oops, 1}},
            {fun() -> oops end, error, {bad_item, oops}}
        ],
        Count <- [0, 1, 2, 100]
    ],
    %% One that is killed.
    Killed = py:source(fun() -> exit(self(), kill) end),
    ?assertMatch([[], "ErlangError", error, {source_gone, _}], py:func(py_streams, caught, [Killed])).

a_source_ends_with_its_iterator(_Config) ->
    Gone = fun() -> py_eventually:equals([], fun processes_of_streams/0) end,
    %% Dropped before, within and after its first batch; closed; passed to a call that does not take it.
    ?assertEqual(3, py:func(builtins, len, [[py:source(counter(10)), 1, 2]])),
    Gone(),
    ?assertEqual([0], py:func(py_streams, first, [py:source(counter(1000)), 1])),
    Gone(),
    ?assertEqual(lists:seq(0, 499), py:func(py_streams, first, [py:source(counter(1000)), 500])),
    Gone(),
    ?assertEqual([[0], []], py:func(py_streams, closed, [py:source(counter(1000))])),
    Gone(),
    ?assertError({python, 'builtins.TypeError', _, _}, py:func(math, sqrt, [py:source(counter(10))])),
    Gone(),
    %% Kept in Python, and released.
    Kept = py:func(py_streams, kept, [py:source(counter(10))]),
    ?assertEqual(0, py:next(Kept)),
    ?assertNotEqual([], processes_of_streams()),
    ok = py:release(Kept),
    Gone(),
    %% Never given to Python.
    Unused = py:source(counter(10)),
    ?assertNotEqual([], processes_of_streams()),
    ?assertEqual(ok, py:stream_close(Unused)),
    Gone(),
    ?assertEqual(ok, py:stream_close(Unused)).

a_source_ends_with_its_owner(_Config) ->
    Test = self(),
    Owner = spawn(fun() ->
        Stuck = py:source(fun() -> Test ! stuck, receive never -> done end end),
        Test ! {made, py:func(py_streams, kept, [Stuck]), py:func(py_streams, kept, [py:source(counter(10))])},
        receive stop -> ok end
    end),
    {Stuck, Counter} = receive {made, A, B} -> {A, B} end,
    ?assertEqual(0, py:next(Counter)),
    Reader = spawn_monitor(fun() -> exit({read, catch py:next(Stuck)}) end),
    receive stuck -> ok end,
    exit(Owner, kill),
    py_eventually:equals([], fun processes_of_streams/0),
    {Pid, Monitor} = Reader,
    receive
        {'DOWN', Monitor, process, Pid, {read, Read}} ->
            ?assertMatch({'EXIT', {{source_gone, _}, _}}, Read)
    end.

%%% Both

a_generator_reads_a_source_while_it_is_streamed(_Config) ->
    [
        begin
            Stream = stream(Function, [py:source(counter(1000))], #{window => 16}),
            ?assertEqual([2 * Item || Item <- lists:seq(0, 999)], items(Stream)),
            %% Left half way, both end.
            Half = stream(Function, [py:source(counter(1000))]),
            ?assertEqual([0, 2, 4], next(Half, 3)),
            ok = py:stream_close(Half),
            py_eventually:equals([], fun processes_of_streams/0),
            %% Closed while the source keeps Python waiting.
            Test = self(),
            Stuck = stream(Function, [py:source(fun() -> Test ! asked, receive never -> done end end)]),
            ?assertError({py, timeout}, py:stream_next(Stuck, 50)),
            receive asked -> ok end,
            ok = py:stream_close(Stuck),
            py_eventually:equals([], fun processes_of_streams/0)
        end
     || Function <- [doubled, doubled_async]
    ],
    ?assertEqual(3, py:add(1, 2)).

%% The calls nest, and where both are asynchronous so do their loops.
a_stream_may_feed_a_source_of_the_same_worker(_Config) ->
    [
        begin
            In = stream(First, [500]),
            Out = stream(Second, [py:source(fun() -> py:stream_next(In) end)]),
            ?assertEqual([2 * Item || Item <- lists:seq(0, 499)], items(Out))
        end
     || First <- [count, count_async], Second <- [doubled, doubled_async]
    ].

streams_and_sources_reach_other_nodes(Config) ->
    Distribution = py_distribution:start(),
    try
        {ok, restarted} = py:restart(),
        {Peer, Node} = py_distribution:start_peer(),
        Lost = on_another_node(Node, Config),
        peer:stop(Peer),
        ?assertError({py, {node_down, Node}}, py:stream_fold(fun(_, Acc) -> Acc end, 0, Lost)),
        ?assertEqual(done, py:stream_next(Lost))
    after
        py_distribution:stop(Distribution)
    end,
    {ok, restarted} = py:restart().

on_another_node(Node, Config) ->
    {ok, started} = py_distribution:start_py(Node, [{default, #{size => 1, python_path => [?config(data_dir, Config)]}}]),
    There = #{node => Node},
    Counted = lists:seq(0, 999),
    %% An iterator of that node's, made for the stream or before; items of this node's, read there.
    ?assertEqual(Counted, items(stream(count, [1000], There))),
    ?assertEqual(Counted, items(py:stream(py:func(py_streams, count, [1000], There)))),
    ?assertEqual(Counted, py:func(py_streams, listed, [py:source(counter(1000))], There)),
    %% A stream of this node's, read there.
    Here = stream(count, [1000]),
    ?assertEqual({ok, 0}, erpc:call(Node, py, stream_next, [Here])),
    ?assertEqual(499500, erpc:call(Node, py, stream_fold, [fun erlang:'+'/2, 0, Here])),
    %% One that will lose its node.
    Lost = stream(counting, [], There#{window => 10}),
    ?assertEqual({ok, 1}, py:stream_next(Lost)),
    Lost.
