%%% What Pythons map after its release counts for `max_shared_bytes' until the last map goes, however that ends.
-module(py_released_SUITE).

-include_lib("stdlib/include/assert.hrl").
-include_lib("common_test/include/ct.hrl").

-export([suite/0, all/0, init_per_testcase/2, end_per_testcase/2]).
-export([
    what_a_worker_keeps_counts_until_it_lets_go/1,
    what_the_collector_finds_counts_until_then/1,
    what_a_worker_has_made_itself_counts/1,
    parts_and_several_workers_count_once/1,
    what_a_session_keeps_counts_until_it_is_closed/1,
    what_a_worker_keeps_counts_until_it_ends/1,
    what_a_forked_child_keeps_counts_until_it_ends/1,
    many_look_at_the_same_time/1,
    killed_at_random_nothing_counts_for_ever/1,
    a_restart_of_the_books_forgets_all/1
]).

-define(LARGE, 131_072).
-define(MOST, (4 * ?LARGE)).

suite() -> [{timetrap, {minutes, 5}}].

all() ->
    [
        what_a_worker_keeps_counts_until_it_lets_go,
        what_the_collector_finds_counts_until_then,
        what_a_worker_has_made_itself_counts,
        parts_and_several_workers_count_once,
        what_a_session_keeps_counts_until_it_is_closed,
        what_a_worker_keeps_counts_until_it_ends,
        what_a_forked_child_keeps_counts_until_it_ends,
        many_look_at_the_same_time,
        killed_at_random_nothing_counts_for_ever,
        a_restart_of_the_books_forgets_all
    ].

init_per_testcase(_, Config) ->
    _ = application:load(py),
    application:set_env(py, max_shared_bytes, ?MOST),
    ok = py_application:start([{default, pool(Config, #{size => 2})}]),
    Config.

end_per_testcase(_, _Config) ->
    application:unset_env(py, max_shared_bytes),
    py_application:stop().

pool(Config, More) -> More#{python_path => [?config(data_dir, Config)]}.

%%% Until it lets go

what_a_worker_keeps_counts_until_it_lets_go(_Config) ->
    [keep(keep, shared()) || _ <- [1, 2, 3]],
    ?assertEqual({0, 3 * ?LARGE, 3 * ?LARGE, ?MOST}, numbers()),
    Said = io_lib:format("py_node_shared_released_bytes ~w", [3 * ?LARGE]),
    ?assertNotEqual(nomatch, string:find(iolist_to_binary(py_metrics:text()), iolist_to_binary(Said))),
    Last = py:share(content(?LARGE)),
    ?assertEqual({1, ?MOST, 3 * ?LARGE, ?MOST}, numbers()),
    full(),
    ok = py:release(Last),
    _ = call(forget, []),
    ?assertEqual({0, 0, 0, ?MOST}, numbers()),
    ok = py:release(py:share(content(?MOST))).

what_the_collector_finds_counts_until_then(_Config) ->
    [keep(keep_in_a_cycle, shared()) || _ <- [1, 2, 3, 4]],
    full(),
    _ = call(collect, []),
    nothing_counts().

what_a_worker_has_made_itself_counts(_Config) ->
    Made = [call(make_and_keep, [?LARGE]) || _ <- [1, 2, 3, 4]],
    ?assertEqual({4, ?MOST, 0, ?MOST}, numbers()),
    ok = py:release(Made),
    ?assertEqual({0, ?MOST, ?MOST, ?MOST}, numbers()),
    full(),
    _ = call(forget, []),
    nothing_counts().

parts_and_several_workers_count_once(_Config) ->
    Shm = py:share(content(2 * ?LARGE)),
    _ = py:pmap(py_released, keep, py:split(Shm, 8)),
    _ = [call(Worker, keep_a_part, [Shm]) || #{worker := Worker} <- py:workers()],
    ?assertEqual({1, 2 * ?LARGE, 0, ?MOST}, numbers()),
    ok = py:release(Shm),
    ?assertEqual({0, 2 * ?LARGE, 2 * ?LARGE, ?MOST}, numbers()),
    [#{worker := One}, #{worker := Other}] = py:workers(),
    _ = call(One, forget, []),
    ?assertEqual({0, 2 * ?LARGE, 2 * ?LARGE, ?MOST}, numbers()),
    _ = call(Other, forget, []),
    nothing_counts().

what_a_session_keeps_counts_until_it_is_closed(_Config) ->
    Session = py_session:open(#{persistent => true}),
    Shm = shared(),
    ?assertEqual(?LARGE, py_session:eval(py_session:exec(py_session:define(Session, "a", Shm), "b = a[5:]"), "len(a)")),
    ok = py:release(Shm),
    _ = py_session:eval(Session, "del a"),
    ?assertMatch({0, ?LARGE, ?LARGE, _}, numbers()),
    _ = py_session:close(Session),
    nothing_counts().

%%% Until it ends

what_a_worker_keeps_counts_until_it_ends(Config) ->
    Ends = [
        fun(#{os_pid := OsPid}) -> py_os_process:kill(OsPid) end,
        fun(#{worker := Worker}) -> ok = py:restart_worker(Worker) end,
        fun(#{worker := Worker}) -> exit(Worker, kill) end
    ],
    lists:foreach(fun(End) ->
        [First | _] = py:workers(),
        keep(keep, shared()),
        keep(keep, py:func(py_released, make_and_keep, [?LARGE], #{worker => maps:get(worker, First)})),
        ?assertMatch({0, 2 * ?LARGE, 2 * ?LARGE, _}, numbers()),
        End(First),
        nothing_counts()
    end, Ends),
    {ok, _} = py:start_pool(used, pool(Config, #{size => 1, max_calls => 3})),
    Keep = fun() ->
        Shm = shared(),
        ?LARGE = py:func(py_released, keep, [Shm], #{pool => used}),
        ok = py:release(Shm)
    end,
    [Keep() || _ <- [1, 2, 3]],
    nothing_counts().

what_a_forked_child_keeps_counts_until_it_ends(_Config) ->
    keep(keep, shared()),
    _ = call(fork, []),
    _ = call(forget, []),
    ?assertMatch({0, ?LARGE, ?LARGE, _}, numbers()),
    Rest = py:share(content(3 * ?LARGE)),
    full(),
    ?assertMatch({1, ?MOST, ?LARGE, _}, numbers()),
    _ = call(end_children, []),
    %% Who finds no room looks who maps it still.
    ok = py:release(py:share(content(?LARGE))),
    ok = py:release(Rest),
    nothing_counts(),
    keep(keep, shared()),
    Child = call(fork, []),
    _ = call(forget, []),
    py_os_process:kill(Child),
    nothing_counts().

many_look_at_the_same_time(_Config) ->
    [keep(keep, shared()) || _ <- [1, 2, 3, 4]],
    _ = call(fork, []),
    _ = call(forget, []),
    Full = py_caller:results([py_caller:start(fun() -> py:share(content(?LARGE)) end) || _ <- lists:seq(1, 10)]),
    ?assertEqual([], [Outcome || Outcome <- Full, not is_full(Outcome)]),
    _ = call(end_children, []),
    Outcomes = py_caller:results([
        py_caller:start(fun() -> py:release(py:share(content(?LARGE))) end) || _ <- lists:seq(1, 10)
    ]),
    ?assert(lists:member({ok, ok}, Outcomes)),
    ?assertEqual([], [Outcome || Outcome <- Outcomes, Outcome =/= {ok, ok}, not is_full(Outcome)]),
    nothing_counts().

is_full({error, {py, {shared_memory, "no room for 131072 bytes" ++ _}}}) -> true;
is_full(_) -> false.

%% `ROUNDS' in the environment: how many.
killed_at_random_nothing_counts_for_ever(_Config) ->
    Rounds = list_to_integer(os:getenv("ROUNDS", "100")),
    Callers = [
        py_caller:start(fun() ->
            [a_round() || _ <- lists:seq(1, Rounds div 2)],
            ok
        end)
     || _ <- [1, 2]
    ],
    ?assertEqual([{ok, ok}, {ok, ok}], py_caller:results(Callers)),
    ok = py:restart_pool(default),
    nothing_counts(),
    ok = py:release(py:share(content(?MOST))).

a_round() ->
    try
        Shm = shared(),
        try
            py:release(py:func(py_released, keep_some, [Shm], #{arrays => shared}))
        after
            py:release(Shm)
        end
    catch
        error:{py, {Kind, _}} when Kind =:= shared_memory; Kind =:= worker_down -> ok
    end.

a_restart_of_the_books_forgets_all(_Config) ->
    [keep(keep, shared()) || _ <- [1, 2]],
    exit(whereis(py_shared_owner), kill),
    Answers = fun() -> try py:add(1, 2) =:= 3 andalso is_map(py:shared_memory()) catch error:_ -> false end end,
    py_eventually:holds(Answers),
    nothing_counts(),
    Directory = py_shared_marks:directory(),
    ?assert(filelib:is_dir(Directory)),
    {ok, stopped} = py:stop(),
    ?assertNot(filelib:is_dir(Directory)).

%%% What the cases have in common

shared() -> py:share(content(?LARGE)).

content(Size) -> binary:copy(<<7>>, Size).

%% The first worker keeps it, after it was released.
keep(Function, Shm) ->
    _ = call(Function, [Shm]),
    ok = py:release(Shm).

call(Function, Args) ->
    [#{worker := Worker} | _] = py:workers(),
    call(Worker, Function, Args).

call(Worker, Function, Args) -> py:func(py_released, Function, Args, #{worker => Worker}).

numbers() ->
    #{files := Files, bytes := Bytes, released_bytes := Released, max_bytes := Most} = py:shared_memory(),
    {Files, Bytes, Released, Most}.

nothing_counts() ->
    py_eventually:equals({0, 0, 0, ?MOST}, fun numbers/0),
    %% And nothing is noted any more.
    py_eventually:equals({ok, []}, fun() -> file:list_dir(py_shared_marks:directory()) end).

full() ->
    Refused = [
        fun() -> py:share(content(?LARGE)) end,
        fun() -> py:func(builtins, bytes, [?LARGE], #{arrays => shared}) end,
        fun() -> py:func(erl, share, [{bytes, content(?LARGE)}]) end
    ],
    [
        ?assertError({py, {shared_memory, "no room for 131072 bytes of shared memory: max_shared_bytes is 524288" ++ _}}, Share())
     || Share <- Refused
    ].
