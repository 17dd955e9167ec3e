%%% Calls from one node to pools on others, with a delay on the way: how the rate grows with the nodes.
-module(py_bench_nodes).

-export([main/0]).

-define(WORKERS, 4).
-define(WORK_MS, 10).
-define(ROUND_TRIPS_MS, [0, 2, 10, 40]).
-define(LARGE_BYTES, 20_000_000).
-define(SMALL, 2_000).
-define(ROUNDS, 4).
%% What one cell of the table takes at least.
-define(CELL_MS, 1_500).

main() ->
    [Python, Nodes] = init:get_plain_arguments(),
    logger:set_primary_config(level, error),
    {ok, _} = net_kernel:start([list_to_atom("py_bench_" ++ os:getpid()), shortnames]),
    ok = application:load(py),
    ok = application:set_env(py, pools, [{default, #{size => 1, python => Python}}]),
    {ok, started} = py:start(),
    Peers = [peer(Number, Python) || Number <- lists:seq(1, list_to_integer(Nodes))],
    Peers =:= [] orelse table(Peers),
    beside(Python),
    {ok, stopped} = py:stop(),
    halt(0).

table(Peers) ->
    io:format("~w workers on each node, ~w ms of work a call; calls/s, beside what the workers can do~n~n", [?WORKERS, ?WORK_MS]),
    io:format("| round trip | nodes | scatter, window 2 | scatter, window 16 | pmap | pmap, window 16 | of nothing: scatter, window 16, calls/s | pmap, items/s | one by one, ms a call |~n"),
    io:format("|---|---|---|---|---|---|---|---|---|~n"),
    [row(RoundTrip, lists:sublist(Peers, Count), Peers)
     || RoundTrip <- ?ROUND_TRIPS_MS, Count <- counts(length(Peers))],
    [peer:stop(Peer) || {Peer, _, _} <- Peers],
    ok.

counts(Most) -> [Count || Count <- [1, 2, 4, 8, 16, 32], Count =< Most].

%% Small calls beside large ones on the same connection, which nothing delays. Quiet and loaded in turn: what the machine does otherwise is in both.
beside(Python) ->
    {ok, Peer, Node} = peer:start_link(#{
        name => lists:concat([py_beside_, os:getpid()]), connection => standard_io, args => ["-pa", filename:dirname(code:which(py))]
    }),
    {ok, started} = py_cluster:start(Node, #{pools => [{default, #{size => 2, python => Python}}]}),
    [Small, Large] = [Worker || #{worker := Worker} <- erpc:call(Node, py, workers, [])],
    Bytes = {bytes, binary:copy(<<0>>, ?LARGE_BYTES)},
    Loads = [
        {"arguments", fun() -> py:func(builtins, len, [Bytes], #{worker => Large}) end},
        {"results", fun() -> py:func(builtins, bytes, [?LARGE_BYTES], #{worker => Large, binaries => bytes}) end}
    ],
    Call = fun() -> py:func(operator, add, [1, 2], #{worker => Small}) end,
    _ = [Fun() || Fun <- [Call | [Load || {_, Load} <- Loads]]],
    io:format("~n~w small calls beside calls of ~w MB, one after the other, to another worker of the same node; ms~n~n", [?SMALL, ?LARGE_BYTES div 1_000_000]),
    io:format("| large | p95 quiet | p95 loaded | ratio | median quiet | median loaded | large calls/s |~n|---|---|---|---|---|---|---|~n"),
    [beside(Name, Load, Call) || {Name, Load} <- Loads],
    peer:stop(Peer).

beside(Name, Load, Call) ->
    {Quiet, Loaded, Rates} = lists:unzip3([
        begin
            Before = times(Call),
            Self = self(),
            Loader = spawn_link(fun() -> Self ! {count, repeated(Load, 0)} end),
            Start = erlang:monotonic_time(millisecond),
            Beside = times(Call),
            Took = erlang:monotonic_time(millisecond) - Start,
            Loader ! stop,
            {Before, Beside, receive {count, Count} -> 1000 * Count / Took end}
        end
     || _ <- lists:seq(1, ?ROUNDS)
    ]),
    [Q95, L95, Q50, L50] = [lists:nth(round(Part * length(All)), lists:sort(All)) / 1000
        || Part <- [0.95, 0.5], All <- [lists:append(Quiet), lists:append(Loaded)]],
    io:format("| ~ts | ~.2f | ~.2f | ~.1f | ~.2f | ~.2f | ~.1f |~n", [Name, Q95, L95, L95 / Q95, Q50, L50, lists:sum(Rates) / ?ROUNDS]).

%% In microseconds, with a pause between two, as calls of others come.
times(Call) ->
    [
        begin
            receive after 1 -> ok end,
            {Us, 3} = timer:tc(Call),
            Us
        end
     || _ <- lists:seq(1, ?SMALL div ?ROUNDS)
    ].

repeated(Load, Count) ->
    _ = Load(),
    receive stop -> Count + 1 after 0 -> repeated(Load, Count + 1) end.

%% Each node is reached through a delay of its own, and knows this node only.
peer(Number, Python) ->
    Name = lists:concat([py_far_, Number, "_", os:getpid()]),
    Ebin = filename:dirname(code:which(py)),
    {ok, Peer, Node} = peer:start_link(#{
        name => Name, connection => standard_io, args => ["-connect_all", "false", "-pa", Ebin]
    }),
    {port, Port, _} = erl_epmd:port_please(Name, "localhost"),
    ok = py_delay_epmd:through(Name, py_delay:start(Port, 0)),
    {ok, started} = py_cluster:start(Node, #{pools => [{default, #{size => 1, python => Python}}]}),
    {Peer, Node, Python}.

row(RoundTrip, Some, All) ->
    ok = py_delay:set(0),
    Pool = list_to_atom(lists:concat([far_, RoundTrip, "_", length(Some)])),
    [{ok, _} = erpc:call(Node, py, start_pool, [Pool, #{size => ?WORKERS, python => Python}]) || {_, Node, Python} <- Some],
    wait(fun() -> length(py_cluster:nodes(Pool)) =:= length(Some) end),
    ok = py_delay:set(RoundTrip div 2),
    Options = #{pool => Pool, scope => cluster},
    Ideal = length(Some) * ?WORKERS * 1000 div ?WORK_MS,
    Sleep = ?WORK_MS / 1000,
    Scatter = fun(Window, Count) -> py:gather(py:scatter(time, sleep, lists:duplicate(Count, [Sleep]), Options#{window => Window})) end,
    Nothing = fun(Count) ->
        py:gather(py:scatter(operator, neg, [[N] || N <- lists:seq(1, Count)], Options#{window => 16}))
    end,
    Cells = [
        part(rate(Ideal, fun(Count) -> Scatter(2, Count) end), Ideal),
        part(rate(Ideal, fun(Count) -> Scatter(16, Count) end), Ideal),
        part(rate(Ideal, fun(Count) -> py:pmap(time, sleep, lists:duplicate(Count, Sleep), Options) end), Ideal),
        part(rate(Ideal, fun(Count) -> py:pmap(time, sleep, lists:duplicate(Count, Sleep), Options#{window => 16}) end), Ideal),
        integer_to_list(rate(10_000, Nothing)),
        integer_to_list(rate(200_000, fun(Count) -> py:pmap(operator, neg, lists:seq(1, Count), Options) end)),
        float_to_list(1000 / rate(20, fun(Count) -> [py:func(operator, add, [1, 2], Options) || _ <- lists:seq(1, Count)] end), [{decimals, 2}])
    ],
    io:format("| ~w ms | ~w |~ts~n", [RoundTrip, length(Some), [[" ", Cell, " |"] || Cell <- Cells]]),
    ok = py_delay:set(0),
    [ok = erpc:call(Node, py, stop_pool, [Pool]) || {_, Node, _} <- Some],
    wait(fun() -> py_cluster:nodes(Pool) =:= [] end),
    _ = All,
    ok.

part(Rate, Ideal) -> io_lib:format("~w (~w %)", [Rate, round(100 * Rate / Ideal)]).

%% As often as the cell has time for, from a count that should take a second.
rate(Count, Fun) ->
    Fun(max(1, Count div 10)),
    Start = erlang:monotonic_time(microsecond),
    Done = repeat(Count, Fun, Start + ?CELL_MS * 1000, 0),
    Done * 1_000_000 div (erlang:monotonic_time(microsecond) - Start).

repeat(Count, Fun, Until, Done) ->
    _ = Fun(Count),
    case erlang:monotonic_time(microsecond) < Until of
        true -> repeat(Count, Fun, Until, Done + Count);
        false -> Done + Count
    end.

wait(Condition) -> Condition() orelse begin receive after 5 -> ok end, wait(Condition) end.
