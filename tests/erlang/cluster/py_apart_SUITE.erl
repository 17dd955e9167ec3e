%%% Nodes that lose each other, that stop, that have more or fewer workers than others.
-module(py_apart_SUITE).

-include_lib("common_test/include/ct.hrl").
-include_lib("stdlib/include/assert.hrl").

-export([suite/0, all/0, init_per_suite/1, end_per_suite/1, init_per_testcase/2, end_per_testcase/2]).
%% For other nodes.
-export([away/0, overdue/0]).
-export([
    turns_are_by_workers/1,
    a_stream_from_a_lost_node_says_so/1,
    a_stream_that_is_open_may_end_before_its_node_stops/1,
    an_array_outlives_a_moment_without_its_owner/1,
    an_array_of_a_node_that_stays_away_goes/1,
    a_lost_connection_is_made_again_where_that_is_asked_for/1,
    a_start_that_nobody_waits_for_is_undone/1,
    a_start_reads_the_application_itself/1,
    a_host_that_says_nothing_is_waited_for_no_longer_than_was_said/1,
    another_version_is_refused_and_said/1,
    an_operator_without_pools_sees_the_others/1,
    a_cookie_that_changes_changes_no_key_of_this_run/1,
    what_former_keys_have_signed_is_still_read/1,
    a_node_that_starts_anew_reads_what_its_former_cookies_have_signed/1
]).

suite() -> [{timetrap, {minutes, 5}}].

all() ->
    [
        turns_are_by_workers,
        a_stream_from_a_lost_node_says_so,
        a_stream_that_is_open_may_end_before_its_node_stops,
        an_array_outlives_a_moment_without_its_owner,
        an_array_of_a_node_that_stays_away_goes,
        a_lost_connection_is_made_again_where_that_is_asked_for,
        a_start_that_nobody_waits_for_is_undone,
        a_start_reads_the_application_itself,
        a_host_that_says_nothing_is_waited_for_no_longer_than_was_said,
        another_version_is_refused_and_said,
        an_operator_without_pools_sees_the_others,
        a_cookie_that_changes_changes_no_key_of_this_run,
        what_former_keys_have_signed_is_still_read,
        a_node_that_starts_anew_reads_what_its_former_cookies_have_signed
    ].

init_per_suite(Config) ->
    Distribution = py_distribution:start(),
    Peers = [py_distribution:start_peer() || _ <- [1, 2]],
    [unlink(Peer) || {Peer, _} <- Peers],
    ok = py_application:start([{default, #{size => 1}}]),
    [{distribution, Distribution}, {peers, [Peer || {Peer, _} <- Peers]}, {nodes, [Node || {_, Node} <- Peers]} | Config].

end_per_suite(Config) ->
    [peer:stop(Peer) || Peer <- ?config(peers, Config)],
    ok = py_application:stop(),
    py_distribution:stop(?config(distribution, Config)).

init_per_testcase(_, Config) ->
    [{ok, started} = py_cluster:start(Node, #{pools => [{default, #{size => 1, drain_timeout => 60_000}}]}) || Node <- ?config(nodes, Config)],
    Config.

end_per_testcase(_, _Config) ->
    case py_application:messages() of
        [] -> ok;
        Messages -> {fail, {messages_left, Messages}}
    end.

turns_are_by_workers(Config) ->
    [One, Two] = ?config(nodes, Config),
    Sizes = [{node(), 1}, {One, 2}, {Two, 3}],
    [{ok, _} = erpc:call(Node, py, start_pool, [turns, #{size => Size, scheduler => round_robin}]) || {Node, Size} <- Sizes],
    Places = fun(Count) ->
        All = [py:func('erl.api', node, [], #{pool => turns, scope => cluster}) || _ <- lists:seq(1, Count)],
        lists:sort(maps:to_list(maps:map(fun(_, Same) -> length(Same) end, maps:groups_from_list(fun(Node) -> Node end, All))))
    end,
    py_eventually:equals(6, fun() -> length(pg:get_members(py_nodes, {workers, turns})) end),
    ?assertEqual(lists:sort([{node(), 2}, {One, 4}, {Two, 6}]), Places(12)),
    %% When that changes, too.
    ok = erpc:call(Two, py, resize, [turns, 1]),
    py_eventually:equals(4, fun() -> length(pg:get_members(py_nodes, {workers, turns})) end),
    ?assertEqual(lists:sort([{node(), 2}, {One, 4}, {Two, 2}]), Places(8)),
    ?assertEqual([default, turns], py_nodes:pools()),
    [ok = erpc:call(Node, py, stop_pool, [turns]) || {Node, _} <- Sizes],
    ?assertError({py, {unknown_pool, turns}}, py:func(os, getpid, #{pool => turns, scope => cluster})).

a_stream_from_a_lost_node_says_so(Config) ->
    [One | _] = ?config(nodes, Config),
    Open = fun() ->
        Stream = py:stream(itertools, count, [], #{node => One, window => 4}),
        ?assertEqual({ok, 0}, py:stream_next(Stream)),
        Stream
    end,
    [Read, Closed, Back] = [Open() || _ <- [1, 2, 3]],
    true = erlang:disconnect_node(One),
    %% What has come already is there, then why no more does.
    ?assertError({py, {node_down, One}}, py:stream_fold(fun(_, Count) -> Count + 1 end, 0, Read)),
    ?assertEqual(done, py:stream_next(Read)),
    ?assertEqual(ok, py:stream_close(Closed)),
    ok = py_cluster:connect(One),
    ?assertError({py, {node_down, One}}, py:stream_fold(fun(_, Count) -> Count + 1 end, 0, Back)).

a_stream_that_is_open_may_end_before_its_node_stops(Config) ->
    [One | _] = ?config(nodes, Config),
    Stream = py:stream(builtins, range, [1_000], #{node => One, window => 4}),
    ?assertEqual({ok, 0}, py:stream_next(Stream)),
    py_eventually:holds(fun() -> hosted(One) =/= [] end),
    Stop = py_caller:start(fun() -> py_cluster:stop(One) end),
    %% It is sent no more calls from now on.
    py_eventually:holds(fun() -> not lists:member(One, py_cluster:nodes()) end),
    ?assertEqual(lists:seq(999, 1, -1), py:stream_fold(fun(Item, Acc) -> [Item | Acc] end, [], Stream)),
    ?assertEqual({ok, {ok, stopped}}, py_caller:result(Stop)),
    ?assertError({py, not_started}, py:func(os, getpid, #{node => One})),
    %% One that nobody reads is not waited for for ever.
    {ok, started} = py_cluster:start(One),
    Unread = py:stream(itertools, count, [], #{node => One, window => 4}),
    py_eventually:holds(fun() -> hosted(One) =/= [] end),
    {ok, stopped} = erpc:call(One, py, stop, [0]),
    ?assertError({py, _}, py:stream_fold(fun(_, Count) -> Count + 1 end, 0, Unread)).

hosted(Node) -> erpc:call(Node, ets, match, [py_node_loads, {{stream, '$1'}}]).

array(Node) -> py:func(numpy, ones, [100_000], #{node => Node, arrays => shared}).

%% Owners of shared memory that are looked for.
away() ->
    {state, _MaxBytes, _Maker, _Next, _Files, Owners, _Makers, _Look, _Late} = sys:get_state(py_shared_owner),
    [Owner || {Owner, {away, _}} <- maps:to_list(Owners)].

an_array_outlives_a_moment_without_its_owner(Config) ->
    [One | _] = ?config(nodes, Config),
    {'$py.shm', _} = Array = array(One),
    true = erlang:disconnect_node(One),
    ok = py_cluster:connect(One),
    %% It is looked for, and found, and its end is seen later.
    py_eventually:equals([], fun() -> erpc:call(One, ?MODULE, away, []) end),
    ?assertMatch({"ndarray", {_, {100_000}, _}}, py:value(Array)),
    ?assertEqual(100_000, py:func(builtins, len, [Array], #{node => One})),
    ok = py:release(Array),
    py_eventually:equals(0, fun() -> maps:get(files, erpc:call(One, py_shared, info, [])) end),
    %% One whose owner has ended meanwhile.
    Test = self(),
    {Owner, Monitor} = spawn_monitor(fun() -> Test ! {array, array(One)}, receive go -> ok end end),
    receive {array, _} -> ok end,
    true = erlang:disconnect_node(One),
    Owner ! go,
    receive {'DOWN', Monitor, process, Owner, _} -> ok end,
    ok = py_cluster:connect(One),
    py_eventually:equals(0, fun() -> maps:get(files, erpc:call(One, py_shared, info, [])) end).

an_array_of_a_node_that_stays_away_goes(Config) ->
    [One | _] = ?config(nodes, Config),
    [Peer | _] = ?config(peers, Config),
    _ = array(One),
    Files = fun() -> maps:get(files, peer:call(Peer, py_shared, info, [])) end,
    ?assertEqual(1, Files()),
    true = erlang:disconnect_node(One),
    py_eventually:equals(1, fun() -> length(peer:call(Peer, ?MODULE, away, [])) end),
    ?assertEqual(1, Files()),
    %% When its time is over, which nobody waits for here.
    ok = peer:call(Peer, ?MODULE, overdue, []),
    py_eventually:equals(0, Files),
    ok = py_cluster:connect(One).

overdue() ->
    [py_shared_owner ! {away, Owner, erlang:monotonic_time(millisecond) - 1} || Owner <- away()],
    ok.

status() ->
    {ok, Leader} = py_output:of_call(fun() -> py_cluster:status() end),
    Text = py_output:text(Leader),
    py_output:stop(Leader),
    Text.

is_said(Text) -> string:find(status(), Text) =/= nomatch.

a_lost_connection_is_made_again_where_that_is_asked_for(Config) ->
    [One, Two] = ?config(nodes, Config),
    ?assertEqual(ok, py_cluster:connect([One, Two], #{reconnect => true})),
    ?assertEqual(#{One => up, Two => up}, py_cluster_links:kept()),
    %% OTP takes the others apart, too.
    true = erlang:disconnect_node(One),
    py_eventually:equals(lists:sort([node(), One, Two]), fun() -> py_cluster:nodes() end),
    py_eventually:equals(#{One => up, Two => up}, fun() -> py_cluster_links:kept() end),
    ?assertEqual(ok, py_cluster:connect([One, Two], #{reconnect => false})),
    ?assertEqual(#{}, py_cluster_links:kept()),
    %% One that is not there yet.
    ?assertEqual({error, {py, {node_down, nobody@nowhere}}}, py_cluster:connect(nobody@nowhere, #{reconnect => true})),
    ?assert(is_said("nobody@nowhere is not connected")),
    ?assertEqual({error, {py, timeout}}, py_cluster:connect(nobody@nowhere, #{reconnect => false, timeout => 0})),
    ?assertNot(is_said("nobody@nowhere")),
    ?assertError(badarg, py_cluster:connect(One, #{reconnect => 1})).

runs(Node) -> erpc:call(Node, erlang, whereis, [py_sup]) =/= undefined.

a_start_that_nobody_waits_for_is_undone(Config) ->
    [One | _] = ?config(nodes, Config),
    {ok, stopped} = py_cluster:stop(One),
    %% Whatever it has come to when its time is over, or its caller ends.
    [
        begin
            ?assertEqual({error, {py, timeout}}, py_cluster:start(One, #{timeout => Ms})),
            py_eventually:holds(fun() -> not runs(One) andalso erpc:call(One, py_transit_SUITE, starts, []) =:= [] end)
        end
     || Ms <- [0, 1, 5, 15]
    ],
    Caller = py_caller:start(fun() -> py_cluster:start(One) end),
    py_eventually:holds(fun() -> runs(One) end),
    py_caller:kill(Caller),
    py_eventually:holds(fun() -> not runs(One) end),
    %% What ran before goes on.
    ?assertEqual({ok, started}, py_cluster:start(One)),
    ?assertEqual({error, {py, timeout}}, py_cluster:start(One, #{timeout => 0})),
    ?assertEqual({ok, started}, py_cluster:start(One)),
    ?assertEqual(3, py:func(operator, add, [1, 2], #{node => One})).

a_start_reads_the_application_itself(Config) ->
    [One, Two] = ?config(nodes, Config),
    {ok, stopped} = py_cluster:stop(One),
    ok = erpc:call(One, application, unload, [py]),
    ?assertEqual({ok, started}, erpc:call(One, py_cluster, start, [Two])),
    ?assertEqual({ok, started}, py_cluster:start(One)).

%% A node that others find, takes connections, and says nothing on them: OTP waits seven seconds for one.
a_host_that_says_nothing_is_waited_for_no_longer_than_was_said(_Config) ->
    {ok, Listener} = gen_tcp:listen(0, [binary, {active, false}]),
    {ok, Port} = inet:port(Listener),
    Name = list_to_binary("py_silent_" ++ os:getpid()),
    Mapper = mapped(Name, Port),
    [_, Host] = string:split(atom_to_list(node()), "@"),
    Silent = binary_to_atom(<<Name/binary, "@", (list_to_binary(Host))/binary>>),
    %% The connection is still being made when each of them is over: OTP's own end of it would be `node_down'.
    try
        [
            ?assertEqual({error, {py, timeout}}, Fun(Silent, #{timeout => 100}))
         || Fun <- [fun py_cluster:connect/2, fun py_cluster:start/2]
        ],
        ?assertError({py, timeout}, py:func(os, getpid, [], #{node => Silent, timeout => 100})),
        ?assertError({py, timeout}, py:call_all(os, getpid, [], #{node => Silent, timeout => 100})),
        ?assertEqual(3, py:func(operator, add, [1, 2], #{scope => cluster}))
    after
        gen_tcp:close(Listener),
        gen_tcp:close(Mapper)
    end.

%% What a node says to its port mapper (ERTS' distribution protocol, ALIVE2_REQ), which knows it as long as the socket is open.
mapped(Name, Port) ->
    {ok, Mapper} = gen_tcp:connect("localhost", list_to_integer(os:getenv("ERL_EPMD_PORT", "4369")), [binary, {active, false}, {packet, 2}]),
    ok = gen_tcp:send(Mapper, <<120, Port:16, 77, 0, 6:16, 5:16, (byte_size(Name)):16, Name/binary, 0:16>>),
    ok = inet:setopts(Mapper, [{packet, raw}]),
    {ok, <<_, 0, _/binary>>} = gen_tcp:recv(Mapper, 0, 60_000),
    Mapper.

another_version_is_refused_and_said(Config) ->
    [One | _] = ?config(nodes, Config),
    {ok, stopped} = py_cluster:stop(One),
    Load = fun(Version) ->
        _ = erpc:call(One, application, unload, [py]),
        {ok, [{application, py, Keys}]} = file:consult(code:where_is_file("py.app")),
        Vsn = case Version of own -> proplists:get_value(vsn, Keys); _ -> Version end,
        ok = erpc:call(One, application, load, [{application, py, lists:keystore(vsn, 1, Keys, {vsn, Vsn})}])
    end,
    Load("0.0.9"),
    {error, Error} = py_cluster:start(One),
    ?assertMatch({py, {ship, {version, One, "0.0.9", _}}}, Error),
    ?assertNotEqual(nomatch, string:find(py_error:text(Error), "has version 0.0.9 of py")),
    %% Nor is what was installed there replaced.
    ?assertEqual({error, Error}, py_cluster:start(One, #{upgrade => true})),
    {ok, started} = erpc:call(One, py, start, []),
    py_eventually:holds(fun() -> lists:member(One, py_cluster:nodes()) end),
    ?assert(is_said(atom_to_list(One) ++ " has version 0.0.9 of py")),
    {ok, stopped} = py_cluster:stop(One),
    Load(own),
    ?assertEqual({ok, started}, py_cluster:start(One)),
    ?assertNot(is_said("has version")).

an_operator_without_pools_sees_the_others(Config) ->
    [One, Two] = Nodes = ?config(nodes, Config),
    ok = py_cluster:connect(Nodes),
    {ok, stopped} = py:stop(),
    try
        ?assertEqual(lists:sort(Nodes), py_cluster:nodes()),
        ?assertEqual(lists:sort(Nodes), py_cluster:nodes(default)),
        ?assertEqual([], py_cluster:nodes(none)),
        ?assertEqual(lists:sort(Nodes), lists:usort([node(Worker) || #{worker := Worker} <- py_cluster:workers()])),
        ?assert(is_said(atom_to_list(One))),
        application:set_env(py, pools, [{default, none}]),
        {ok, started} = py:start(),
        ok = py_cluster:connect(Nodes),
        ?assertEqual(lists:sort(Nodes), py_cluster:nodes()),
        ?assertEqual(Two, py:func('erl.api', node, [], #{node => Two})),
        ?assert(lists:member(py:func('erl.api', node, [], #{scope => cluster}), Nodes))
    after
        application:set_env(py, pools, [{default, #{size => 1}}]),
        py:restart()
    end.

a_cookie_that_changes_changes_no_key_of_this_run(Config) ->
    [One | _] = ?config(nodes, Config),
    Opaque = py:func(builtins, range, [3], #{node => One}),
    Own = erlang:get_cookie(),
    Key = py_key:get(),
    ?assertNotEqual(crypto:hash(sha256, [<<"py opaque pickles\0">>, atom_to_binary(Own, utf8)]), Key),
    try
        true = erlang:set_cookie(node(), another_cookie),
        ok = py:restart_worker(hd([Worker || #{worker := Worker} <- py:workers()])),
        %% Workers of before and after read each other's, and those of other nodes.
        ?assertEqual(3, py:func(builtins, len, [Opaque])),
        ?assertEqual(Key, py_key:get())
    after
        true = erlang:set_cookie(node(), Own)
    end,
    ?assertEqual(3, py:func(builtins, len, [py:func(builtins, range, [3])], #{node => One})).

opaque() -> py:func(builtins, range, [3]).

reads(Opaque) -> py:func(builtins, len, [Opaque]).

%% Keys are made when the application starts.
with_cookie(Cookie) ->
    {ok, stopped} = py:stop(),
    true = erlang:set_cookie(node(), Cookie),
    {ok, started} = py:start(),
    py_key:get().

what_former_keys_have_signed_is_still_read(_Config) ->
    Own = erlang:get_cookie(),
    First = {py_key:get(), opaque()},
    try
        [{_, Second}, {_, Third}, {_, Fourth}] = Later = [{with_cookie(Cookie), opaque()} || Cookie <- [second, third, fourth]],
        Keys = [Key || {Key, _} <- [First | Later]],
        ?assertEqual(4, length(lists:usort(Keys))),
        ?assertEqual(lists:sort(lists:droplast(Keys)), py_key:former()),
        ?assertEqual([3, 3, 3, 3], [reads(Opaque) || {_, Opaque} <- [First | Later]]),
        %% Three of them, and none for a sandbox.
        Fifth = with_cookie(fifth),
        ?assertError({py, {decode, _}}, reads(element(2, First))),
        ?assertEqual([3, 3, 3], [reads(Opaque) || Opaque <- [Second, Third, Fourth]]),
        ?assertEqual(3, length(py_key:former())),
        ?assertEqual([], py_key:former(#{sandbox => bwrap})),
        ?assertNot(lists:member(py_key:get(#{sandbox => bwrap}), [Fifth | py_key:former()])),
        %% One that comes back has its key again.
        ?assertEqual(lists:nth(4, Keys), with_cookie(fourth)),
        ?assertEqual([3, 3, 3], [reads(Opaque) || Opaque <- [Second, Third, Fourth]])
    after
        _ = with_cookie(Own)
    end,
    ?assertEqual(element(1, First), py_key:get()),
    ?assertEqual(3, reads(element(2, First))).

a_node_that_starts_anew_reads_what_its_former_cookies_have_signed(_Config) ->
    Opaque = opaque(),
    {Peer, _Node} = py_distribution:start_peer(),
    unlink(Peer),
    try
        true = peer:call(Peer, erlang, set_cookie, [another_cookie]),
        Start = fun(Cookies) ->
            ok = peer:call(Peer, application, set_env, [[{py, [{pools, [{default, #{size => 1}}]}, {former_cookies, Cookies}]}]]),
            peer:call(Peer, py, start, [], 60_000)
        end,
        {ok, started} = Start([]),
        ?assertMatch({'EXIT', _}, catch peer:call(Peer, py, func, [builtins, len, [Opaque]], 60_000)),
        {ok, stopped} = peer:call(Peer, py, stop, [], 60_000),
        ?assertMatch({error, {py, {bad_config, py, _}}}, Start(no_list)),
        {ok, started} = Start([some_other, erlang:get_cookie()]),
        ?assertEqual(3, peer:call(Peer, py, func, [builtins, len, [Opaque]], 60_000))
    after
        peer:stop(Peer)
    end.
