%%% A node that stands still, and has been sent more than the connection takes: whoever sends to it is suspended by the run-time system.
-module(py_frozen_SUITE).

-include_lib("common_test/include/ct.hrl").
-include_lib("stdlib/include/assert.hrl").

-export([suite/0, all/0, init_per_suite/1, end_per_suite/1]).
%% For other nodes.
-export([held/2, waits/0, asks/1]).
-export([
    casts_and_releases_do_not_wait/1,
    casts_come_in_order_and_as_they_were/1,
    what_is_kept_for_a_lost_node_goes/1,
    more_than_may_be_kept_is_refused/1,
    pools_start_change_and_stop_meanwhile/1,
    a_worker_serves_others_while_the_node_of_its_callers_stands_still/1
]).

suite() -> [{timetrap, {minutes, 5}}].

all() ->
    [
        casts_and_releases_do_not_wait,
        casts_come_in_order_and_as_they_were,
        more_than_may_be_kept_is_refused,
        pools_start_change_and_stop_meanwhile,
        a_worker_serves_others_while_the_node_of_its_callers_stands_still,
        what_is_kept_for_a_lost_node_goes
    ].

init_per_suite(Config) -> py_distribution:start_pair(1, Config).

end_per_suite(Config) -> py_distribution:stop_pair(Config).

%% Run `Fun' while the node stands still and its connection takes nothing more.
while_full(Node, Fun) ->
    py_distribution:while_frozen(Node, fun() ->
        Filler = py_caller:start(fun() -> fill(Node) end),
        py_eventually:holds(fun() -> is_suspended(Filler) end),
        try
            {ok, _} = py_caller:result(py_caller:start(Fun)),
            %% Still: what it sends in the meantime is what the system's own buffers have taken.
            py_eventually:holds(fun() -> is_suspended(Filler) end)
        after
            py_caller:kill(Filler)
        end
    end).

is_suspended({Pid, _}) -> process_info(Pid, status) =:= {status, suspended}.

fill(Node) ->
    {nobody, Node} ! binary:copy(<<0>>, 100_000),
    fill(Node).

worker(Node) -> hd([Worker || #{worker := Worker} <- py_cluster:workers(), node(Worker) =:= Node]).

casts_and_releases_do_not_wait(Config) ->
    Node = ?config(node, Config),
    Worker = worker(Node),
    References = [py:func(builtins, object, [], #{node => Node, return => ref}) || _ <- lists:seq(1, 20)],
    Held = fun() -> erpc:call(Node, ?MODULE, held, [Worker, references]) end,
    ?assertEqual(20, Held()),
    while_full(Node, fun() ->
        [?assertEqual(ok, py:cast(Worker, {tea, N})) || N <- lists:seq(1, 100)],
        ?assertEqual(ok, py:release(References))
    end),
    py_eventually:equals(0, Held),
    py_eventually:equals([], fun() -> ets:tab2list(py_outbox) end).

held(Worker, Key) ->
    {ok, Info} = py_worker:info(Worker),
    map_get(Key, Info).

casts_come_in_order_and_as_they_were(Config) ->
    Node = ?config(node, Config),
    Worker = worker(Node),
    On = #{node => Node, return => ref},
    Heard = py:func(builtins, list, [], On),
    py:func(erl, set_message_handler, [py:attr(Heard, append, #{return => ref})]),
    %% Some of them go at once, some behind what is large, which goes in parts.
    Large = binary:copy(<<"0123456789">>, 100_000),
    Messages = lists:seq(1, 50) ++ [Large] ++ lists:seq(51, 100) ++ [Large] ++ lists:seq(101, 150),
    {Before, After} = lists:split(20, Messages),
    [ok = py:cast(Worker, Message) || Message <- Before],
    while_full(Node, fun() -> [ok = py:cast(Worker, Message) || Message <- After] end),
    [ok = py:cast(Worker, N) || N <- [Large | lists:seq(151, 200)]],
    All = Messages ++ [Large | lists:seq(151, 200)],
    py_eventually:equals(length(All), fun() -> py:func(builtins, len, [Heard]) end),
    ?assertEqual(All, py:func(builtins, list, [py:func(builtins, iter, [Heard], #{return => ref})], #{binaries => bytes})),
    py:func(erl, set_message_handler, [py:func(operator, attrgetter, [<<"real">>], On)]),
    ok = py:release(Heard).

more_than_may_be_kept_is_refused(Config) ->
    Node = ?config(node, Config),
    Worker = worker(Node),
    while_full(Node, fun() ->
        %% But for what the system's own buffers take.
        ?assertMatch(N when N > 10_000, refused(Worker, 1))
    end),
    py_eventually:equals([], fun() -> ets:tab2list(py_outbox) end),
    ?assertEqual(ok, py:cast(Worker, 0)),
    ?assertEqual(3, py:func(operator, add, [1, 2], #{node => Node})).

refused(Worker, N) when N < 1_000_000 ->
    case py:cast(Worker, N) of
        ok -> refused(Worker, N + 1);
        {error, {py, overload}} -> N
    end.

pools_start_change_and_stop_meanwhile(Config) ->
    Node = ?config(node, Config),
    while_full(Node, fun() ->
        {ok, _} = py:start_pool(meanwhile, #{size => 1}),
        ok = py:resize(meanwhile, 2),
        ?assertEqual(3, py:func(operator, add, [1, 2], #{pool => meanwhile})),
        ok = py:stop_pool(meanwhile)
    end),
    py_eventually:equals([], fun() -> erpc:call(Node, py_nodes, members, [meanwhile]) end).

%% In Python on the first node, for a caller on the second.
waits() ->
    py_frozen_test ! {waits, self()},
    receive go -> object end.

asks(Node) -> py:func(erl, call, [?MODULE, waits, []], #{node => Node, return => ref}).

a_worker_serves_others_while_the_node_of_its_callers_stands_still(Config) ->
    Node = ?config(node, Config),
    true = register(py_frozen_test, self()),
    Asker = erpc:call(Node, erlang, spawn, [?MODULE, asks, [node()]]),
    Waits = receive {waits, Pid} -> Pid end,
    while_full(Node, fun() ->
        Waits ! go,
        %% The reference is made, and belongs to a process there.
        py_eventually:equals(1, fun() -> held(hd([Worker || #{worker := Worker} <- py:workers()]), references) end),
        ?assertEqual(3, py:func(operator, add, [1, 2]))
    end),
    true = unregister(py_frozen_test),
    Gone = monitor(process, Asker),
    receive {'DOWN', Gone, process, Asker, _} -> ok end,
    %% It ends with its owner as ever.
    py_eventually:equals(0, fun() -> held(hd([Worker || #{worker := Worker} <- py:workers()]), references) end).

what_is_kept_for_a_lost_node_goes(Config) ->
    Node = ?config(node, Config),
    Worker = worker(Node),
    py_distribution:while_frozen(Node, fun() ->
        %% In parts, none of which is asked for; so the rest waits, too.
        [ok = py:cast(Worker, N) || N <- [1, binary:copy(<<0>>, 1_000_000), 2, 3]],
        ?assertEqual([{Node}], ets:tab2list(py_outbox)),
        true = erlang:disconnect_node(Node),
        py_eventually:equals([], fun() -> ets:tab2list(py_outbox) end)
    end),
    py_eventually:equals(ok, fun() -> py_cluster:connect(Node) end),
    ?assertEqual(ok, py:cast(Worker, 4)),
    ?assertEqual(3, py:func(operator, add, [1, 2], #{node => Node})).
