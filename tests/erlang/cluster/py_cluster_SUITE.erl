%%% Several nodes with Python servers: real nodes, some of which are lost.
-module(py_cluster_SUITE).

-include_lib("common_test/include/ct.hrl").
-include_lib("stdlib/include/assert.hrl").

-export([suite/0, all/0, init_per_suite/1, end_per_suite/1, init_per_testcase/2, end_per_testcase/2]).
%% For other nodes.
-export([started/2, runners/0]).
-export([
    another_run_leaves_the_port_mapper_to_this_one/1,
    a_node_is_connected_to_and_its_pools_are_there/1,
    what_cannot_be_connected_to_says_so/1,
    a_node_without_servers_is_started_and_stopped/1,
    a_hidden_node_is_called_by_its_name_only/1,
    a_node_without_the_code_is_given_it/1,
    a_start_that_fails_there_says_why_here/1,
    wrong_arguments_are_explained/1,
    a_call_of_the_scope_cluster_is_made_here_while_a_worker_is_idle/1,
    calls_beyond_the_workers_here_go_to_other_nodes/1,
    a_pool_that_is_elsewhere_only_is_found/1,
    a_pool_that_is_nowhere_is_unknown/1,
    round_robin_and_random_use_all_nodes/1,
    a_longer_queue_elsewhere_is_heard_of/1,
    a_full_pool_leaves_the_call_to_another_node/1,
    a_process_that_keeps_to_a_worker_keeps_to_its_node/1,
    a_named_node_or_worker_comes_before_the_scope/1,
    call_all_reaches_the_workers_of_all_nodes/1,
    a_caller_that_dies_ends_its_call_on_the_other_node/1,
    a_deadline_holds_on_another_node/1,
    what_a_frozen_node_begins_too_late_is_ended/1,
    a_call_that_somebody_ends_on_the_other_node_is_cancelled/1,
    a_cancelled_call_ends_on_the_other_node/1,
    references_route_home_and_opaques_travel/1,
    a_reference_and_the_worker_of_another_node_cannot_meet/1,
    a_reference_of_another_node_needs_no_pool_here/1,
    messages_reach_the_handler_of_a_worker_elsewhere/1,
    a_map_uses_all_nodes_and_keeps_the_order/1,
    a_map_survives_the_death_of_a_node/1,
    without_retry_only_what_ran_on_the_lost_node_fails/1,
    a_node_that_comes_back_is_used_again/1,
    a_node_whose_workers_have_died_is_used_again/1,
    a_frozen_node_does_not_stop_the_others/1,
    deaths_and_lost_connections_change_no_result_and_leave_nothing/1,
    a_module_is_pushed_to_all_nodes/1,
    a_pushed_module_is_there_after_a_restart_of_the_worker/1,
    a_node_that_comes_later_has_the_pushed_modules/1,
    nodes_that_were_apart_take_the_last_version/1,
    a_module_that_changes_at_once_is_not_taken_for_the_old_one/1,
    a_worker_that_is_busy_loads_a_pushed_module_later/1,
    a_package_is_pushed_as_a_whole_and_loaded_again/1,
    what_has_no_source_cannot_be_pushed/1,
    what_was_pushed_is_taken_back/1,
    the_status_shows_each_node/1
]).

suite() -> [{timetrap, {minutes, 5}}].

all() ->
    [
        another_run_leaves_the_port_mapper_to_this_one,
        a_node_is_connected_to_and_its_pools_are_there,
        what_cannot_be_connected_to_says_so,
        a_node_without_servers_is_started_and_stopped,
        a_hidden_node_is_called_by_its_name_only,
        a_node_without_the_code_is_given_it,
        a_start_that_fails_there_says_why_here,
        wrong_arguments_are_explained,
        a_call_of_the_scope_cluster_is_made_here_while_a_worker_is_idle,
        calls_beyond_the_workers_here_go_to_other_nodes,
        a_pool_that_is_elsewhere_only_is_found,
        a_pool_that_is_nowhere_is_unknown,
        round_robin_and_random_use_all_nodes,
        a_longer_queue_elsewhere_is_heard_of,
        a_full_pool_leaves_the_call_to_another_node,
        a_process_that_keeps_to_a_worker_keeps_to_its_node,
        a_named_node_or_worker_comes_before_the_scope,
        call_all_reaches_the_workers_of_all_nodes,
        a_caller_that_dies_ends_its_call_on_the_other_node,
        a_deadline_holds_on_another_node,
        what_a_frozen_node_begins_too_late_is_ended,
        a_call_that_somebody_ends_on_the_other_node_is_cancelled,
        a_cancelled_call_ends_on_the_other_node,
        references_route_home_and_opaques_travel,
        a_reference_and_the_worker_of_another_node_cannot_meet,
        a_reference_of_another_node_needs_no_pool_here,
        messages_reach_the_handler_of_a_worker_elsewhere,
        a_map_uses_all_nodes_and_keeps_the_order,
        a_map_survives_the_death_of_a_node,
        without_retry_only_what_ran_on_the_lost_node_fails,
        a_node_that_comes_back_is_used_again,
        a_node_whose_workers_have_died_is_used_again,
        a_frozen_node_does_not_stop_the_others,
        deaths_and_lost_connections_change_no_result_and_leave_nothing,
        a_module_is_pushed_to_all_nodes,
        a_pushed_module_is_there_after_a_restart_of_the_worker,
        a_node_that_comes_later_has_the_pushed_modules,
        nodes_that_were_apart_take_the_last_version,
        a_module_that_changes_at_once_is_not_taken_for_the_old_one,
        a_worker_that_is_busy_loads_a_pushed_module_later,
        a_package_is_pushed_as_a_whole_and_loaded_again,
        what_has_no_source_cannot_be_pushed,
        what_was_pushed_is_taken_back,
        the_status_shows_each_node
    ].

init_per_suite(Config) -> [{distribution, py_distribution:start()} | Config].

end_per_suite(Config) -> py_distribution:stop(?config(distribution, Config)).

init_per_testcase(_, Config) ->
    ok = py_application:start([{default, pool(Config)}]),
    Config.

end_per_testcase(_, _Config) -> py_application:stop().

pool(Config) -> #{size => 2, python_path => [?config(data_dir, Config)]}.

%% This many nodes beside this one, with pools of their own, all connected.
with_nodes(Count, Config, Fun) ->
    with_nodes(Count, #{args => py_distribution:with_code()}, Config, fun(Nodes) ->
        [{ok, started} = py_cluster:start(Node, #{pools => [{default, pool(Config)}]}) || Node <- Nodes],
        Fun(Nodes)
    end).

with_nodes(Count, Options, _Config, Fun) ->
    Peers = [py_distribution:start_peer(Options) || _ <- lists:seq(1, Count)],
    try
        Fun([Node || {_, Node} <- Peers])
    after
        lists:foreach(fun({Peer, _}) -> unlink(Peer), catch peer:stop(Peer) end, Peers)
    end.

%%% Nodes

%% Two checkouts may be tested at the same time.
another_run_leaves_the_port_mapper_to_this_one(_Config) ->
    Eval = "'ok = py_distribution:stop(py_distribution:start()), io:put_chars(\"stopped\"), halt().'",
    Command = ["erl", "-noinput" | py_distribution:with_code()] ++ ["-eval", Eval],
    ?assertEqual("stopped", os:cmd(lists:append(lists:join(" ", Command)))),
    {ok, Names} = erl_epmd:names(),
    ?assert(lists:keymember(hd(string:split(atom_to_list(node()), "@")), 1, Names), Names).

a_node_is_connected_to_and_its_pools_are_there(Config) ->
    with_nodes(2, Config, fun([One | _] = Nodes) ->
        ?assertEqual(lists:sort([node() | Nodes]), py_cluster:nodes()),
        ?assertEqual(py_cluster:nodes(), py_cluster:nodes(default)),
        ?assertEqual([], py_cluster:nodes(none)),
        %% Each of them knows the others, too.
        py_eventually:equals(lists:sort([node() | Nodes]), fun() -> erpc:call(One, py_cluster, nodes, []) end),
        %% A restart here changes nothing there, and finds them again.
        {ok, restarted} = py:restart(),
        ?assertEqual(ok, py_cluster:connect(Nodes)),
        ?assertEqual(lists:sort([node() | Nodes]), py_cluster:nodes())
    end).

what_cannot_be_connected_to_says_so(_Config) ->
    ?assertEqual({error, {py, {node_down, nobody@nowhere}}}, py_cluster:connect(nobody@nowhere)),
    ?assertEqual({error, {py, {node_down, nobody@nowhere}}}, py_cluster:connect([node(), nobody@nowhere])),
    ?assertEqual({error, {py, {node_down, nobody@nowhere}}}, py_cluster:start(nobody@nowhere)),
    ?assertEqual({error, {py, {node_down, nobody@nowhere}}}, py_cluster:stop(nobody@nowhere)),
    {ok, Peer, _} = peer:start_link(#{connection => standard_io, args => py_distribution:with_code()}),
    ?assertEqual({error, {py, {not_distributed, a@b}}}, peer:call(Peer, py_cluster, connect, [a@b])),
    ?assertEqual([], peer:call(Peer, py_cluster, nodes, [])),
    peer:stop(Peer).

a_node_without_servers_is_started_and_stopped(Config) ->
    with_nodes(1, #{args => py_distribution:with_code()}, Config, fun([Node]) ->
        %% Nothing runs there yet, which is no error.
        ?assertEqual(ok, py_cluster:connect(Node)),
        ?assertEqual([node()], py_cluster:nodes()),
        ?assertEqual({ok, started}, py_cluster:start(Node, #{pools => [{default, pool(Config)}, {other, #{size => 1}}]})),
        ?assertEqual({ok, started}, py_cluster:start(Node)),
        ?assertEqual([Node], py_cluster:nodes(other)),
        ?assertEqual(Node, py:func('erl.api', node, #{node => Node, pool => other})),
        ?assertEqual({ok, stopped}, py_cluster:stop(Node)),
        py_eventually:equals([node()], fun() -> py_cluster:nodes() end),
        ?assertError({py, not_started}, py:func(os, getpid, #{node => Node})),
        %% What it was configured with is so still.
        ?assertEqual({ok, started}, py_cluster:start(Node, #{timeout => infinity})),
        ?assertEqual([Node], py_cluster:nodes(other))
    end).

a_hidden_node_is_called_by_its_name_only(Config) ->
    with_nodes(1, #{args => ["-hidden" | py_distribution:with_code()]}, Config, fun([Node]) ->
        Started = erlang:monotonic_time(millisecond),
        ?assertEqual({ok, started}, py_cluster:start(Node, #{pools => [{default, pool(Config)}]})),
        ?assertEqual(ok, py_cluster:connect(Node)),
        %% Less than nodes are given to become known.
        ?assert(erlang:monotonic_time(millisecond) - Started < 5_000),
        ?assertEqual(Node, py:func('erl.api', node, #{node => Node})),
        ?assertEqual([node()], py_cluster:nodes())
    end).

a_node_without_the_code_is_given_it(Config) ->
    Cache = filename:join(?config(priv_dir, Config), "cache"),
    {ok, _, Python} = py_launcher:find(#{python => undefined}),
    Options = #{pools => [{default, (pool(Config))#{python => Python}}]},
    with_nodes(2, #{env => [{"XDG_CACHE_HOME", Cache}]}, Config, fun([One, Two]) ->
        ?assertEqual(non_existing, erpc:call(One, code, which, [py])),
        ?assertEqual({ok, started}, py_cluster:start(One, Options)),
        ?assertEqual(3, py:func(operator, add, [1, 2], #{node => One})),
        %% Both halves are those that were sent.
        ?assertEqual(nomatch, string:prefix(code:which(py), Cache)),
        ?assertNotEqual(nomatch, string:prefix(erpc:call(One, code, which, [py]), Cache)),
        ?assertMatch([_], filelib:wildcard(filename:join([Cache, "erl-py", "*", "*", "priv", "python", "erl", "runtime", "server.py"]))),
        %% Once: the second node finds it.
        [Place] = filelib:wildcard(filename:join([Cache, "erl-py", "*"])),
        ok = file:write_file(filename:join(Place, "mark"), <<>>),
        ?assertEqual({ok, started}, py_cluster:start(Two, Options)),
        ?assertEqual([Place], filelib:wildcard(filename:join([Cache, "erl-py", "*"]))),
        ?assert(filelib:is_file(filename:join(Place, "mark"))),
        ?assertEqual(lists:sort([node(), One, Two]), py_cluster:nodes()),
        another_build_is_replaced_where_that_is_asked_for(One, Place, Options)
    end).

another_build_is_replaced_where_that_is_asked_for(Node, Place, Options) ->
    {ok, stopped} = py_cluster:stop(Node),
    Found = fun() -> erpc:call(Node, code, where_is_file, ["py.beam"]) end,
    Given = Found(),
    Other = filename:join(filename:dirname(Place), "other"),
    "" = os:cmd(lists:concat(["cp -r ", Place, " ", Other])),
    true = erpc:call(Node, code, del_path, [filename:dirname(Given)]),
    true = erpc:call(Node, code, add_pathz, [filename:join([Other | lists:nthtail(length(filename:split(Place)), filename:split(filename:dirname(Given)))])]),
    _ = [erpc:call(Node, code, Function, [py]) || Function <- [purge, load_file]],
    {error, {py, {ship, {version, Node, Version, Version}}} = Error} = py_cluster:start(Node, Options),
    ?assertNotEqual(nomatch, string:find(py_error:text(Error), "upgrade => true")),
    ?assertEqual({ok, started}, py_cluster:start(Node, Options#{upgrade => true})),
    ?assertEqual(Given, Found()),
    ?assertEqual(3, py:func(operator, add, [1, 2], #{node => Node})).

a_start_that_fails_there_says_why_here(Config) ->
    with_nodes(1, #{args => py_distribution:with_code()}, Config, fun([Node]) ->
        Broken = #{pools => [{default, #{python => "/no/such/python"}}]},
        ?assertMatch({error, {py, {start, default, {start, {no_python, _, _}}}}}, py_cluster:start(Node, Broken)),
        ?assertEqual({error, {py, timeout}}, py_cluster:start(Node, #{timeout => 0})),
        ?assertEqual([node()], py_cluster:nodes())
    end),
    %% A cache that can't be written to.
    File = filename:join(?config(priv_dir, Config), "no_directory"),
    ok = file:write_file(File, <<>>),
    with_nodes(1, #{env => [{"XDG_CACHE_HOME", File}]}, Config, fun([Node]) ->
        {error, Error} = py_cluster:start(Node),
        ?assertMatch({py, {ship, _}}, Error),
        ?assertNotEqual(nomatch, string:find(py_error:text(Error), File))
    end).

wrong_arguments_are_explained(_Config) ->
    [
        try Fun() of
            Result -> ct:fail({Result, Expected})
        catch
            error:badarg:Stack ->
                Text = maps:get(Position, py_error:format_error(badarg, Stack)),
                ?assertNotEqual(nomatch, string:find(Text, Expected), Text)
        end
     || {Fun, Position, Expected} <- [
            {fun() -> py_cluster:connect("a@b") end, 1, "a node"},
            {fun() -> py_cluster:connect(1) end, 1, "a node"},
            {fun() -> py_cluster:start(1) end, 1, "a node"},
            {fun() -> py_cluster:start(node(), #{pools => 1}) end, 2, "pools"},
            {fun() -> py_cluster:start(node(), #{pools => [{default, #{size => 0}}]}) end, 2, "pools"},
            {fun() -> py_cluster:start(node(), #{timeout => never}) end, 2, "timeout"},
            {fun() -> py_cluster:start(node(), #{pool => []}) end, 2, "pool"},
            {fun() -> py_cluster:push("string") end, 1, "name"},
            {fun() -> py:func(os, getpid, #{scope => world}) end, 3, "local | cluster"}
        ]
    ],
    ok.

%%% Which node

cluster() -> #{scope => cluster}.

%% So many calls at the same time; how many of them each node had.
spread(Count, Options, Seconds) ->
    Callers = [py_caller:start(fun() -> py:func(py_afar, place_after, [Seconds], Options) end) || _ <- lists:seq(1, Count)],
    Places = [Place || {ok, Place} <- py_caller:results(Callers)],
    maps:map(fun(_, Same) -> length(Same) end, maps:groups_from_list(fun(Place) -> Place end, Places)).

a_call_of_the_scope_cluster_is_made_here_while_a_worker_is_idle(Config) ->
    with_nodes(2, Config, fun(_) ->
        ?assertEqual(#{node() => 1}, spread(1, cluster(), 0)),
        ?assertEqual([node()], lists:usort([py:func(py_afar, place_after, [0], cluster()) || _ <- lists:seq(1, 100)])),
        ?assertEqual(#{node() => 2}, spread(2, cluster(), 0.2)),
        ?assertEqual(#{node() => 12}, spread(12, #{scope => local}, 0.01))
    end).

calls_beyond_the_workers_here_go_to_other_nodes(Config) ->
    with_nodes(2, Config, fun([One, Two]) ->
        Here = node(),
        %% Six workers for six calls. What a node has is known when it has answered.
        _ = spread(12, cluster(), 0.05),
        #{Here := _, One := _, Two := _} = Spread = spread(6, cluster(), 0.3),
        ?assert(lists:all(fun(Count) -> Count =< 3 end, maps:values(Spread)), Spread),
        ?assertEqual(6, lists:sum(maps:values(Spread)))
    end).

a_pool_that_is_elsewhere_only_is_found(Config) ->
    with_nodes(1, Config, fun([Node]) ->
        {ok, _} = erpc:call(Node, py, start_pool, [there, pool(Config)]),
        py_eventually:equals([Node], fun() -> py_cluster:nodes(there) end),
        ?assertError({py, {unknown_pool, there}}, py:func(py_afar, place_after, [0], #{pool => there})),
        ?assertEqual(Node, py:func(py_afar, place_after, [0], #{pool => there, scope => cluster})),
        ?assertEqual(Node, py:pycall(py_afar, place_after, [0], #{pool => there, scope => cluster})),
        [Place] = lists:usort(py:pmap(py_afar, place_of, lists:seq(1, 20), #{pool => there, scope => cluster})),
        ?assertEqual(Node, Place),
        %% Streams, too.
        Stream = py:stream(builtins, range, [3], #{pool => there, scope => cluster}),
        ?assertEqual([2, 1, 0], py:stream_fold(fun(Item, Acc) -> [Item | Acc] end, [], Stream)),
        ok = erpc:call(Node, py, stop_pool, [there]),
        py_eventually:equals([], fun() -> py_cluster:nodes(there) end),
        ?assertError({py, {unknown_pool, there}}, py:func(os, getpid, #{pool => there, scope => cluster}))
    end).

a_pool_that_is_nowhere_is_unknown(_Config) ->
    ?assertError({py, {unknown_pool, none}}, py:func(os, getpid, #{pool => none, scope => cluster})),
    ?assertError({py, {unknown_pool, none}}, py:pmap(math, sqrt, [1], #{pool => none, scope => cluster})),
    ?assertError({py, {unknown_pool, none}}, py:call_all(os, getpid, [], #{pool => none, scope => cluster})),
    ?assertEqual(3, py:func(operator, add, [1, 2], cluster())),
    {ok, stopped} = py:stop(),
    ?assertError({py, not_started}, py:func(os, getpid, cluster())),
    ?assertEqual([], py_cluster:nodes()),
    {ok, started} = py:start().

round_robin_and_random_use_all_nodes(Config) ->
    with_nodes(2, Config, fun([One, Two]) ->
        Here = node(),
        {ok, _} = py:start_pool(turns, (pool(Config))#{scheduler => round_robin}),
        {ok, _} = py:start_pool(dice, (pool(Config))#{scheduler => random}),
        [{ok, _} = erpc:call(Node, py, start_pool, [Pool, pool(Config)]) || Node <- [One, Two], Pool <- [turns, dice]],
        py_eventually:equals(lists:sort([Here, One, Two]), fun() -> py_cluster:nodes(dice) end),
        Places = fun(Pool, Count) ->
            [py:func(py_afar, place_after, [0], #{pool => Pool, scope => cluster}) || _ <- lists:seq(1, Count)]
        end,
        [A, B, C | _] = Turns = Places(turns, 9),
        ?assertEqual(lists:sort([Here, One, Two]), lists:sort([A, B, C])),
        ?assertEqual(lists:append(lists:duplicate(3, [A, B, C])), Turns),
        %% That one of three is never drawn has a probability of 10^-17.
        ?assertEqual(lists:sort([Here, One, Two]), lists:usort(Places(dice, 100)))
    end).

a_longer_queue_elsewhere_is_heard_of(Config) ->
    with_nodes(2, Config, fun([One, Two]) ->
        %% Somebody else keeps one of the nodes busy; this node knows nothing of it yet.
        Busy = erpc:call(One, ?MODULE, started, [20, 2]),
        %% What is found out while calls are made is found out within a second.
        Long = [py_caller:start(fun() -> py:func(py_afar, place_after, [2], #{worker => Worker}) end)
            || #{worker := Worker} <- py:workers()],
        py_eventually:equals(2, fun() -> lists:sum([N || #{in_flight := N} <- py:workers()]) end),
        Places = fun() -> [py:func(py_afar, place_after, [0], (cluster())#{timeout => 1_000}) || _ <- lists:seq(1, 5)] end,
        py_eventually:equals([Two], fun() ->
            try lists:usort(Places()) catch error:{py, timeout} -> waited end
        end),
        _ = py_caller:results(Long),
        exit(Busy, kill)
    end).

%% For another node: so many calls of so many seconds, made by a process that is returned.
started(Count, Seconds) ->
    Test = self(),
    Pid = spawn(fun() ->
        _ = py:scatter(time, sleep, [[Seconds] || _ <- lists:seq(1, Count)], #{window => 1_000}),
        Test ! {self(), scattered},
        receive never -> ok end
    end),
    receive {Pid, scattered} -> Pid end.

a_full_pool_leaves_the_call_to_another_node(Config) ->
    with_nodes(1, Config, fun([Node]) ->
        One = (pool(Config))#{size => 1, max_queue => 0},
        {ok, _} = py:start_pool(narrow, One),
        {ok, _} = erpc:call(Node, py, start_pool, [narrow, One]),
        py_eventually:equals(2, fun() -> length(py_cluster:nodes(narrow)) end),
        Narrow = #{pool => narrow, scope => cluster},
        Callers = [py_caller:start(fun() -> py:func(py_afar, place_after, [1], Narrow) end) || _ <- [1, 2]],
        py_eventually:equals([1, 1], fun() ->
            [N || #{pool := narrow, in_flight := N} <- py_cluster:workers()]
        end),
        ?assertError({py, overload}, py:func(py_afar, place_after, [0], Narrow)),
        ?assertEqual(lists:sort([{ok, node()}, {ok, Node}]), lists:sort(py_caller:results(Callers)))
    end).

a_process_that_keeps_to_a_worker_keeps_to_its_node(Config) ->
    with_nodes(1, Config, fun(_) ->
        py:with_worker(fun() ->
            OsPid = py:func(os, getpid),
            Callers = [py_caller:start(fun() -> py:func(time, sleep, [0.5]) end) || _ <- lists:seq(1, 4)],
            ?assertEqual(OsPid, py:func(os, getpid, cluster())),
            py_caller:results(Callers)
        end)
    end).

a_named_node_or_worker_comes_before_the_scope(Config) ->
    with_nodes(1, Config, fun([Node]) ->
        Workers = [Worker || #{worker := Worker} <- py:workers()],
        Busy = [py_caller:start(fun() -> py:func(time, sleep, [1], #{worker => Worker}) end) || Worker <- Workers, _ <- [1, 2]],
        py_eventually:equals(4, fun() -> lists:sum([N || #{in_flight := N} <- py:workers()]) end),
        ?assertEqual(Node, py:func(py_afar, place_after, [0], cluster())),
        ?assertEqual(2, length(py:call_all(py_afar, place_after, [0], (cluster())#{node => Node}))),
        Here = [#{node => node()}, #{worker => hd(Workers)}],
        Called = [py_caller:start(fun() -> py:func(py_afar, place_after, [0], (cluster())#{Key => Value}) end)
            || Named <- Here, {Key, Value} <- maps:to_list(Named)],
        ?assertEqual([{ok, node()}, {ok, node()}], py_caller:results(Called)),
        ?assertEqual(2, length(py:call_all(py_afar, place_after, [0], (cluster())#{node => node()}))),
        py_caller:results(Busy)
    end).

call_all_reaches_the_workers_of_all_nodes(Config) ->
    with_nodes(2, Config, fun(Nodes) ->
        OsPids = lists:sort([OsPid || #{os_pid := OsPid} <- py_cluster:workers()]),
        ?assertEqual(6, length(OsPids)),
        ?assertEqual(OsPids, lists:sort([OsPid || {_, {ok, OsPid}} <- py:call_all(os, getpid, [], cluster())])),
        ?assertEqual(5, length(lists:usort([OsPid || {_, {ok, OsPid}} <- py:call_n(5, os, getpid, [], cluster())]))),
        [Node | _] = Nodes,
        [{Worker, {ok, OsPid}} | _] = py:call_all(os, getpid, [], #{node => Node}),
        %% A worker says where it is.
        ?assertEqual(OsPid, py:func(os, getpid, #{worker => Worker})),
        ?assertEqual(Node, node(Worker)),
        py_distribution:kill(Node),
        ?assertError({py, {node_down, Node}}, py:func(os, getpid, #{worker => Worker}))
    end).

%%% Ends

a_caller_that_dies_ends_its_call_on_the_other_node(Config) ->
    with_nodes(1, Config, fun([Node]) ->
        File = filename:join(?config(priv_dir, Config), "died"),
        Caller = py_caller:start(fun() -> py:func(py_afar, begin_work, [file_name(File), 20], #{node => Node}) end),
        py_eventually:equals({ok, <<"begun">>}, fun() -> file:read_file(File) end),
        py_caller:kill(Caller),
        py_eventually:equals([0, 0], fun() -> in_flight(Node) end),
        ?assertEqual({ok, <<"begun">>}, file:read_file(File)),
        %% And where the whole node goes.
        Begun = filename:join(?config(priv_dir, Config), "node"),
        with_nodes(1, Config, fun([Other]) ->
            _ = erpc:call(Other, erlang, spawn, [py, func, [py_afar, begin_work, [file_name(Begun), 20], #{node => Node}]]),
            py_eventually:equals({ok, <<"begun">>}, fun() -> file:read_file(Begun) end),
            py_distribution:kill(Other),
            py_eventually:equals([0, 0], fun() -> in_flight(Node) end)
        end)
    end).

file_name(File) -> unicode:characters_to_binary(File).

in_flight(Node) -> [InFlight || #{in_flight := InFlight} <- erpc:call(Node, py, workers, [])].

a_deadline_holds_on_another_node(Config) ->
    with_nodes(1, Config, fun([Node]) ->
        Start = erlang:monotonic_time(millisecond),
        ?assertError({py, timeout}, py:func(time, sleep, [20], #{node => Node, timeout => 200})),
        ?assert(erlang:monotonic_time(millisecond) - Start < 5_000),
        py_eventually:equals([0, 0], fun() -> in_flight(Node) end),
        %% Frozen, it can't even say so.
        py_distribution:while_frozen(Node, fun() ->
            ?assertError({py, timeout}, py:func(os, getpid, #{node => Node, timeout => 200}))
        end),
        ?assertEqual(3, py:func(operator, add, [1, 2], #{node => Node}))
    end).

what_a_frozen_node_begins_too_late_is_ended(Config) ->
    with_nodes(1, Config, fun([Node]) ->
        File = filename:join(?config(priv_dir, Config), "late"),
        %% The caller lives on.
        py_distribution:while_frozen(Node, fun() ->
            Late = #{node => Node, timeout => 2_000},
            ?assertError({py, timeout}, py:func(py_afar, begin_work, [file_name(File), 1.5], Late))
        end),
        %% What was under way to it arrives before this does, and takes no second and a half.
        _ = erpc:call(Node, erlang, node, []),
        py_eventually:equals([], fun() -> erpc:call(Node, ?MODULE, runners, []) end, 1_000),
        py_eventually:equals([0, 0], fun() -> in_flight(Node) end, 1_000),
        ?assertNotEqual({ok, <<"ended">>}, file:read_file(File))
    end).

a_call_that_somebody_ends_on_the_other_node_is_cancelled(Config) ->
    with_nodes(1, Config, fun([Node]) ->
        Caller = py_caller:start(fun() -> py:func(time, sleep, [20], #{node => Node}) end),
        py_eventually:equals(1, fun() -> lists:sum(in_flight(Node)) end),
        [Runner] = erpc:call(Node, ?MODULE, runners, []),
        exit(Runner, kill),
        ?assertEqual({error, {py, cancelled}}, py_caller:result(Caller)),
        py_eventually:equals([0, 0], fun() -> in_flight(Node) end)
    end).

%% On another node: the processes that run calls of others there.
runners() ->
    [
        Pid
     || Pid <- processes(),
        {current_stacktrace, Stack} <- [process_info(Pid, current_stacktrace)],
        lists:keymember(py_remote, 1, Stack), lists:keymember(py_route, 1, Stack)
    ].

a_cancelled_call_ends_on_the_other_node(Config) ->
    with_nodes(1, Config, fun([Node]) ->
        File = filename:join(?config(priv_dir, Config), "cancelled"),
        Handle = py:async(py_afar, begin_work, [file_name(File), 20], #{node => Node}),
        py_eventually:equals({ok, <<"begun">>}, fun() -> file:read_file(File) end),
        ok = py:cancel(Handle),
        py_eventually:equals([0, 0], fun() -> in_flight(Node) end),
        ?assertEqual({ok, <<"begun">>}, file:read_file(File)),
        ?assertError({py, cancelled}, py:await(Handle)),
        %% And from there.
        Here = py:async(time, sleep, [20]),
        ok = erpc:call(Node, py, cancel, [Here]),
        py_eventually:equals(true, fun() -> try py:yield(Here, 0) =/= timeout catch error:{py, cancelled} -> true end end)
    end).

%%% Values

references_route_home_and_opaques_travel(Config) ->
    with_nodes(2, Config, fun([One, Two]) ->
        Counter = py:init(py_afar, 'Counter', [], #{node => One}),
        {'$py.ref', Worker, _, _} = Counter,
        ?assertEqual(One, node(Worker)),
        ?assertEqual(1, py:method(Counter, up)),
        ?assertEqual(2, py:method(Counter, up, [], cluster())),
        ?assertEqual(3, py:method(Counter, up, [], #{node => Two})),
        ?assertEqual([4], py:pmap(py_afar, up, [Counter], cluster())),
        %% It belongs to the process that made it, on this node.
        {Made, Monitor} = spawn_monitor(fun() -> exit(py:init(py_afar, 'Counter', [], #{node => Two})) end),
        Other = receive {'DOWN', Monitor, process, Made, Reason} -> Reason end,
        py_eventually:holds(fun() ->
            try py:method(Other, up), false catch error:{py, {stale_reference, _}} -> true end
        end),
        ok = py:release(Counter),
        ?assertError({py, {stale_reference, _}}, py:method(Counter, up)),
        %% One cookie, one key: each reads what another wrote.
        Range = py:func(builtins, range, [3], #{node => One}),
        ?assertMatch({'$erlport.opaque', python, _}, Range),
        ?assertEqual([3, 3, 3], [py:func(builtins, len, [Range], #{node => Node}) || Node <- [node(), One, Two]])
    end).

a_reference_and_the_worker_of_another_node_cannot_meet(Config) ->
    with_nodes(1, Config, fun([Node]) ->
        There = py:init(py_afar, 'Counter', [], #{node => Node}),
        Here = py:init(py_afar, 'Counter', []),
        [#{worker := WorkerHere} | _] = py:workers(),
        [#{worker := WorkerThere} | _] = erpc:call(Node, py, workers, []),
        [
            ?assertError({py, {stale_reference, "the reference belongs to another worker" ++ _}}, py:method(Counter, up, [], Options))
         || {Counter, Options} <- [
                {There, #{worker => WorkerHere}},
                {There, #{worker => WorkerHere, node => Node}},
                {Here, #{worker => WorkerThere}},
                {Here, #{worker => WorkerThere, scope => cluster}}
            ]
        ],
        ?assertEqual([1, 1], [py:method(Counter, up) || Counter <- [Here, There]])
    end).

a_reference_of_another_node_needs_no_pool_here(Config) ->
    with_nodes(1, Config, fun([Node]) ->
        Counter = py:init(py_afar, 'Counter', [], #{node => Node}),
        [#{worker := Worker} | _] = py:workers(),
        ok = py:stop_pool(default),
        ?assertEqual(1, py:method(Counter, up)),
        ?assertEqual(2, py:method(Counter, up, [], cluster())),
        ?assertError({py, {unknown_pool, default}}, py:func(os, getpid)),
        ?assertError({py, {unknown_pool, default}}, py:method(Counter, up, [], #{worker => Worker})),
        {ok, stopped} = py:stop(),
        ?assertEqual(3, py:method(Counter, up)),
        ?assertEqual(ok, py:release(Counter)),
        {ok, started} = py:start()
    end),
    %% Nor one of that name where it is.
    {ok, _} = py:start_pool(other, pool(Config)),
    Other = py:init(py_afar, 'Counter', [], #{pool => other}),
    ok = py:stop_pool(default),
    ?assertEqual(1, py:method(Other, up)),
    ok = py:stop_pool(other),
    ?assertError({py, {unknown_pool, default}}, py:method(Other, up)).

messages_reach_the_handler_of_a_worker_elsewhere(Config) ->
    with_nodes(1, Config, fun([Node]) ->
        [{Worker, {ok, undefined}} | _] = py:call_all(py_afar, keep_messages, [], #{node => Node}),
        ok = py:cast(Worker, {hello, 1}),
        py_eventually:equals([{hello, 1}], fun() -> py:func(py_afar, kept_messages, [], #{worker => Worker}) end)
    end).

%%% Many calls

a_map_uses_all_nodes_and_keeps_the_order(Config) ->
    with_nodes(2, Config, fun(Nodes) ->
        Results = py:pmap(py_afar, square_at, lists:seq(1, 3_000), cluster()),
        ?assertEqual([N * N || N <- lists:seq(1, 3_000)], [Square || {Square, _} <- Results]),
        ?assertEqual(lists:sort([node() | Nodes]), lists:usort([Node || {_, Node} <- Results])),
        Gathered = py:gather(py:scatter(py_afar, square_at, [[N] || N <- lists:seq(1, 300)], cluster())),
        ?assertEqual([N * N || N <- lists:seq(1, 300)], [Square || {Square, _} <- Gathered]),
        ?assertEqual(4_501_500, py:preduce(operator, add, lists:seq(1, 3_000), (cluster())#{chunk => 100}))
    end).

a_map_survives_the_death_of_a_node(Config) ->
    with_nodes(3, Config, fun([Doomed | Others]) ->
        Self = self(),
        Items = lists:seq(1, 10_000),
        Caller = py_caller:start(fun() ->
            Tell = fun(#{done := Done}) -> Self ! {done, Done} end,
            py:pmap(py_afar, square_at, Items, #{scope => cluster, retry => 5, chunk => 20, progress => Tell})
        end),
        %% In the middle, when the node has some of them in hand.
        py_eventually:holds(fun() -> lists:sum(in_flight(Doomed)) > 0 end),
        py_distribution:kill(Doomed),
        {ok, Results} = py_caller:result(Caller),
        ?assertEqual([N * N || N <- Items], [Square || {Square, _} <- Results]),
        ?assertEqual([], lists:usort([Node || {_, Node} <- Results]) -- [node(), Doomed | Others]),
        %% Twice in a row.
        ?assertEqual([N * N || N <- Items], [Square || {Square, _} <- py:pmap(py_afar, square_at, Items, cluster())]),
        (fun Flush() -> receive {done, _} -> Flush() after 0 -> ok end end)()
    end).

without_retry_only_what_ran_on_the_lost_node_fails(Config) ->
    with_nodes(2, Config, fun([Doomed, Other]) ->
        _ = spread(12, cluster(), 0.05),
        Handles = py:scatter(py_afar, place_after, [[0.5] || _ <- lists:seq(1, 12)], cluster()),
        py_eventually:holds(fun() -> lists:sum(in_flight(Doomed)) > 0 end),
        py_distribution:kill(Doomed),
        Results = py:gather_all(Handles),
        Lost = [Result || Result <- Results, Result =:= {error, {py, {node_down, Doomed}}}],
        ?assert(length(Lost) > 0),
        ?assertEqual([], [Result || Result <- Results -- Lost, Result =/= {ok, node()}, Result =/= {ok, Other}]),
        py_eventually:equals(lists:sort([node(), Other]), fun() -> py_cluster:nodes() end),
        %% What could be waited for ends with it, too.
        ?assertError({py, {node_down, Doomed}}, py:pmap(math, sqrt, [1], #{node => Doomed}))
    end).

a_node_that_comes_back_is_used_again(Config) ->
    with_nodes(1, Config, fun([Node]) ->
        Elsewhere = fun() -> lists:member(Node, maps:keys(spread(8, cluster(), 0.05))) end,
        py_eventually:holds(Elsewhere),
        true = erlang:disconnect_node(Node),
        py_eventually:equals([node()], fun() -> py_cluster:nodes() end),
        ?assertEqual(#{node() => 8}, spread(8, cluster(), 0.01)),
        ok = py_cluster:connect(Node),
        py_eventually:holds(Elsewhere),
        %% With other pools.
        {ok, restarted} = erpc:call(Node, py, restart, []),
        py_eventually:equals(2, fun() -> length(py_cluster:nodes()) end),
        py_eventually:holds(Elsewhere)
    end).

a_node_whose_workers_have_died_is_used_again(Config) ->
    with_nodes(1, Config, fun([Node]) ->
        %% With the second death nobody serves there, which is what this node hears.
        OfNode = [Worker || #{worker := Worker} <- erpc:call(Node, py, workers, [])],
        Dying = [py_caller:start(fun() -> py:func(os, '_exit', [3], #{worker => Worker}) end) || Worker <- OfNode],
        [{error, {py, {worker_down, _}}} = Result || Result <- py_caller:results(Dying)],
        [?assertError({py, {worker_down, _}}, py:func(os, '_exit', [3], #{node => Node})) || _ <- [1, 2]],
        py_eventually:equals({0, 2}, fun() -> erpc:call(Node, py_nodes, load, [default]) end),
        py_eventually:holds(fun() -> lists:member(Node, maps:keys(spread(8, cluster(), 0.1))) end)
    end).

a_frozen_node_does_not_stop_the_others(Config) ->
    with_nodes(2, Config, fun([Frozen, _Other]) ->
        _ = spread(12, cluster(), 0.05),
        Results = py_distribution:while_frozen(Frozen, fun() ->
            %% Nor take the time of what it has no part in.
            Short = (cluster())#{timeout => 1_000},
            ?assertEqual([1.0, 2.0], py:pmap(math, sqrt, [1, 4], Short)),
            ?assertEqual([{ok, 1.0}, {ok, 2.0}], py:gather_all(py:scatter(math, sqrt, [[1], [4]], Short))),
            Timed = (cluster())#{timeout => 4_000},
            py_caller:results([py_caller:start(fun() -> py:func(py_afar, place_after, [0.02], Timed) end) || _ <- lists:seq(1, 200)])
        end),
        Lost = [Result || Result <- Results, Result =:= {error, {py, timeout}}],
        %% No more than went there before its silence was noticed: a third of those that were made at the same time.
        ?assert(length(Lost) =< 100, length(Lost)),
        ?assertEqual([], [Result || Result <- Results -- Lost, element(1, Result) =/= ok])
    end).

deaths_and_lost_connections_change_no_result_and_leave_nothing(Config) ->
    with_nodes(2, Config, fun(Nodes) ->
        Until = erlang:monotonic_time(millisecond) + 6_000,
        Trouble = py_caller:start(fun() -> trouble(Nodes, Until) end),
        Callers = [py_caller:start(fun() -> _ = rand:seed(exsss, Seed), jobs(Until, 0) end) || Seed <- [1, 2, 3, 4]],
        Results = py_caller:results(Callers),
        ?assertEqual({ok, ok}, py_caller:result(Trouble)),
        [?assertMatch({ok, {_Jobs, []}}, Result) || Result <- Results],
        ct:comment("~w jobs", [lists:sum([Jobs || {ok, {Jobs, []}} <- Results])]),
        py_eventually:equals(ok, fun() -> py_cluster:connect(Nodes) end),
        [
            py_eventually:equals([[], []], fun() ->
                [[N || N <- in_flight(Node), N > 0], erpc:call(Node, ?MODULE, runners, [])]
            end)
         || Node <- [node() | Nodes]
        ]
    end).

%% A worker's Python is killed, its process is, or a node is lost for a moment, every half second.
trouble(Nodes, Until) ->
    lists:foreach(
        fun(Turn) ->
            %% The pace of the trouble.
            receive after 500 -> ok end,
            case Turn rem 3 of
                0 -> [py_os_process:kill(OsPid) || #{os_pid := OsPid} <- lists:sublist(py:workers(), 1), is_integer(OsPid)];
                1 -> [exit(Worker, kill) || #{worker := Worker} <- lists:sublist(py:workers(), 1)];
                2 ->
                    Node = lists:nth(1 + Turn div 3 rem length(Nodes), Nodes),
                    erlang:disconnect_node(Node),
                    net_kernel:connect_node(Node)
            end
        end,
        lists:seq(0, max(0, Until - erlang:monotonic_time(millisecond)) div 500 - 1)
    ).

%% One after the other until then; how many, and the messages that are left.
jobs(Until, Count) ->
    case erlang:monotonic_time(millisecond) > Until of
        true ->
            {Count, py_application:messages()};
        false ->
            Items = lists:seq(1, rand:uniform(60)),
            Options = maps:merge(
                lists:nth(rand:uniform(2), [#{}, cluster()]),
                lists:nth(rand:uniform(2), [#{}, #{timeout => rand:uniform(300)}])
            ),
            job(rand:uniform(4), Items, Options),
            jobs(Until, Count + 1)
    end.

job(1, Items, Options) ->
    in_time([-N || N <- Items], fun() -> py:pmap(operator, neg, Items, Options#{retry => 10, chunk => rand:uniform(5)}) end);
job(2, Items, Options) ->
    in_time(lists:sum(Items), fun() -> py:preduce(operator, add, Items, Options#{retry => 10, chunk => 3}) end);
job(3, Items, Options) ->
    Handles = py:scatter(time, sleep, [[0.01] || _ <- Items], Options),
    ok = py:cancel(lists:nth(rand:uniform(length(Items)), Handles)),
    ?assertEqual(length(Items), length(py:gather_all(Handles, rand:uniform(300))));
job(4, Items, Options) ->
    {Pid, Monitor} = spawn_monitor(fun() -> py:pmap(time, sleep, [0.02 || _ <- Items], Options#{retry => 10}) end),
    %% It dies in the middle.
    receive after rand:uniform(50) -> exit(Pid, kill) end,
    receive {'DOWN', Monitor, process, Pid, _} -> ok end.

in_time(Expected, Call) ->
    try
        ?assertEqual(Expected, Call())
    catch
        error:{py, timeout} -> ok
    end.

%%% Modules

a_module_is_pushed_to_all_nodes(Config) ->
    Directory = module_directory(Config, "pushed_one"),
    ok = file:write_file(filename:join(Directory, "pushed_module.py"), <<"def version():\n    return 1\n">>),
    with_nodes(2, Config, fun([One, Two]) ->
        true = lists:all(fun({_, R}) -> R =:= {ok, undefined} end, py:call_all('erl.calls.pushed', use, [list_to_binary(Directory)])),
        On = #{node => One},
        ?assertError({python, 'builtins.ModuleNotFoundError', _, _}, py:func(pushed_module, version, On)),
        ?assertEqual(lists:sort([{One, ok}, {Two, ok}]), py_cluster:push(pushed_module)),
        ?assertEqual([{ok, 1}, {ok, 1}], [R || {_, R} <- py:call_all(pushed_module, version, [], On)]),
        %% Again, when it has changed.
        ok = file:write_file(filename:join(Directory, "pushed_module.py"), <<"def version():\n    return 'second'\n">>),
        ?assertEqual(lists:sort([{One, ok}, {Two, ok}]), py_cluster:push(<<"pushed-module">>)),
        ?assertEqual([{ok, "second"}, {ok, "second"}], [R || {_, R} <- py:call_all(pushed_module, version, [], On)]),
        %% One that can't be imported is not sent.
        ok = file:write_file(filename:join(Directory, "pushed_module.py"), <<"1 / 0\n">>),
        ?assertError({python, 'builtins.ZeroDivisionError', "division by zero (when a fresh" ++ _, _}, py_cluster:push(pushed_module)),
        ok = file:write_file(filename:join(Directory, "pushed_module.py"), <<"import pushed_submodule_that_is_lost\n">>),
        ?assertError({python, 'builtins.ModuleNotFoundError', _, _}, py_cluster:push(pushed_module)),
        %% Nor kept anywhere where that is so on one of the nodes.
        ok = file:write_file(filename:join(Directory, "pushed_module.py"), [
            "import os\nif os.environ.get('PY_TEST_NODE') == 'two': raise LookupError('not here')\n"
        ]),
        true = erpc:call(Two, os, putenv, ["PY_TEST_NODE", "two"]),
        {ok, restarted} = erpc:call(Two, py, restart, []),
        py_eventually:equals(3, fun() -> length(py_cluster:nodes()) end),
        [{Two, {error, Why}}, {One, {error, Whole}}] = lists:sort(fun(A, _) -> element(1, A) =:= Two end, py_cluster:push(pushed_module)),
        ?assertMatch({python, 'builtins.LookupError', "not here" ++ _, _}, Why),
        ?assertEqual({py, {ship, {not_everywhere, [Two]}}}, Whole),
        ?assertNotEqual(nomatch, string:find(py_error:text(Whole), "nothing was changed")),
        ?assertEqual([{ok, "second"}, {ok, "second"}], [R || {_, R} <- py:call_all(pushed_module, version, [], On)]),
        ?assertEqual([{ok, "second"}, {ok, "second"}], [R || {_, R} <- py:call_all(pushed_module, version, [], #{node => Two})]),
        %% Nothing is left of the tries, nor of what there was no room for.
        Leftovers = fun(Node, Names) -> erpc:call(Node, filelib, wildcard, [erpc:call(Node, py_directory, path, [Names])]) end,
        ?assertEqual([[], [], [], []], [Leftovers(Node, Names) || Node <- [One, Two], Names <- ["try-*", "modules/*.new"]]),
        Large = {<<"py_large">>, {1, Two}, [{<<"py_large.py">>, binary:copy(<<"#">>, 140_000_000)}]},
        {error, Full} = py_cluster_modules:take(Large),
        ?assertMatch({py, {ship, {modules, _, 134_217_728}}}, Full),
        ?assertNotEqual(nomatch, string:find(py_error:text(Full), "unpush"))
    end).

a_pushed_module_is_there_after_a_restart_of_the_worker(Config) ->
    Directory = module_directory(Config, "pushed_two"),
    ok = file:write_file(filename:join(Directory, "py_stays.py"), <<"HERE = True\n">>),
    with_nodes(1, Config, fun([Node]) ->
        _ = py:call_all('erl.calls.pushed', use, [list_to_binary(Directory)]),
        [{Node, ok}] = py_cluster:push(py_stays),
        [#{worker := Worker, os_pid := OsPid} | _] = erpc:call(Node, py, workers, []),
        py_os_process:kill(OsPid),
        py_eventually:holds(fun() ->
            try py:func(os, getpid, #{worker => Worker}) =/= OsPid catch error:{py, {worker_down, _}} -> false end
        end),
        ?assertEqual(true, py:const(py_stays, 'HERE', #{worker => Worker})),
        {ok, New} = erpc:call(Node, py, add_worker, [default]),
        ?assertEqual(true, py:const(py_stays, 'HERE', #{worker => New})),
        %% What stops has it no more, what starts is given it.
        {ok, stopped} = erpc:call(Node, py, stop, []),
        ?assertError({py, not_started}, py:const(py_stays, 'HERE', #{node => Node})),
        {ok, started} = py_cluster:start(Node),
        ?assertEqual(true, py:const(py_stays, 'HERE', #{node => Node}))
    end).

%% A directory for a module of that name, on the path of the workers here; and what writes its text there.
module_here(Config, Name) ->
    Directory = module_directory(Config, "of_" ++ Name),
    _ = py:call_all('erl.calls.pushed', use, [list_to_binary(Directory)]),
    fun(Text) -> ok = file:write_file(filename:join(Directory, Name ++ ".py"), Text) end.

a_node_that_comes_later_has_the_pushed_modules(Config) ->
    Write = module_here(Config, "py_later"),
    Write("NUMBER = 1\n"),
    Number = fun(Node) -> py:call_all(builtins, eval, [<<"__import__('py_later').NUMBER">>], #{node => Node}) end,
    %% Nobody is there yet.
    ?assertEqual([], py_cluster:push(py_later)),
    with_nodes(1, Config, fun([One]) ->
        ?assertMatch([{_, {ok, 1}}, {_, {ok, 1}}], Number(One)),
        Write("NUMBER = 22\n"),
        [{One, ok}] = py_cluster:push(py_later),
        %% One that runs already, and that another has to give it: the one that pushed it has stopped.
        {ok, stopped} = py:stop(),
        with_nodes(1, #{args => py_distribution:with_code() ++ ["-connect_all", "false"]}, Config, fun([Two]) ->
            {ok, started} = py_distribution:start_py(Two, [{default, pool(Config)}]),
            ?assertEqual([], erpc:call(Two, py_cluster_modules, latest, [])),
            true = erpc:call(Two, net_kernel, connect_node, [One]),
            py_eventually:equals([{ok, 22}, {ok, 22}], fun() ->
                Answers = erpc:call(Two, py, call_all, [builtins, eval, [<<"getattr(__import__('py_later'), 'NUMBER', 0)">>], #{}]),
                [Answer || {_, Answer} <- Answers]
            end)
        end),
        {ok, started} = py:start(),
        ?assertEqual(erpc:call(One, py_cluster_modules, latest, []), py_cluster_modules:latest())
    end).

nodes_that_were_apart_take_the_last_version(Config) ->
    Write = module_here(Config, "py_apart"),
    Version = fun() ->
        Workers = [Worker || #{worker := Worker} <- py_cluster:workers(), node(Worker) =/= node()],
        [py:const(py_apart, 'VERSION', #{worker => Worker}) || Worker <- Workers]
    end,
    Write("VERSION = 1\n"),
    with_nodes(1, Config, fun([Node]) ->
        [{Node, ok}] = py_cluster:push(py_apart),
        ?assertEqual([1, 1], Version()),
        true = erlang:disconnect_node(Node),
        py_eventually:equals([node()], fun() -> py_cluster:nodes() end),
        Write("VERSION = 2\n"),
        ?assertEqual([], py_cluster:push(py_apart)),
        ok = py_cluster:connect(Node),
        py_eventually:equals([2, 2], Version),
        %% What is old already is not taken.
        ?assertEqual(ok, erpc:call(Node, py_cluster_modules, take, [{<<"py_apart">>, {0, node()}, [{<<"py_apart.py">>, <<"VERSION = 0\n">>}]}])),
        ?assertEqual([2, 2], Version()),
        ?assertEqual(erpc:call(Node, py_cluster_modules, latest, []), py_cluster_modules:latest())
    end).

a_module_that_changes_at_once_is_not_taken_for_the_old_one(Config) ->
    Write = module_here(Config, "py_quick"),
    %% Python keeps what it has compiled, as it does where nothing is said.
    Pool = (pool(Config))#{env => [{"PYTHONDONTWRITEBYTECODE", ""}]},
    with_nodes(1, #{args => py_distribution:with_code()}, Config, fun([Node]) ->
        {ok, started} = py_cluster:start(Node, #{pools => [{default, Pool}]}),
        [
            begin
                Write(io_lib:format("NUMBER = ~w\n", [Number])),
                ?assertEqual([{Node, ok}], py_cluster:push(py_quick)),
                Workers = [Worker || #{worker := Worker} <- erpc:call(Node, py, workers, [])],
                ?assertEqual([Number, Number], [py:const(py_quick, 'NUMBER', #{worker => Worker}) || Worker <- Workers])
            end
         || Number <- [1, 2, 3, 4]
        ]
    end).

a_worker_that_is_busy_loads_a_pushed_module_later(Config) ->
    Write = module_here(Config, "py_patient"),
    with_nodes(1, Config, fun([Node]) ->
        Write("NUMBER = 1\n"),
        ?assertEqual([{Node, ok}], py_cluster:push(py_patient)),
        [Busy, Idle] = [Worker || #{worker := Worker} <- erpc:call(Node, py, workers, [])],
        Number = fun(Worker) -> py:const(py_patient, 'NUMBER', #{worker => Worker}) end,
        ?assertEqual([1, 1], [Number(Busy), Number(Idle)]),
        %% Longer than a node has that is asked for something short.
        Caller = py_caller:start(fun() -> py:func(time, sleep, [6], #{worker => Busy}) end),
        py_eventually:equals(1, fun() -> lists:sum(in_flight(Node)) end),
        Write("NUMBER = 2\n"),
        Pusher = py_caller:start(fun() -> py_cluster:push(py_patient) end),
        py_eventually:equals(2, fun() -> Number(Idle) end, 3_000),
        ?assertEqual({ok, [{Node, ok}]}, py_caller:result(Pusher)),
        ?assertEqual({ok, undefined}, py_caller:result(Caller)),
        ?assertEqual(2, Number(Busy))
    end).

a_package_is_pushed_as_a_whole_and_loaded_again(Config) ->
    Directory = module_directory(Config, "pushed_three"),
    Write = fun(Number) ->
        Files = [
            {"__init__.py", "from py_parcel.inner import number\n"},
            {"inner/__init__.py", io_lib:format("number = ~w\n", [Number])},
            {"inner/data.txt", "text"}
        ],
        lists:foreach(
            fun({Name, Text}) ->
                File = filename:join([Directory, "py_parcel", Name]),
                ok = filelib:ensure_dir(File),
                ok = file:write_file(File, Text)
            end,
            Files
        )
    end,
    with_nodes(1, Config, fun([Node]) ->
        _ = py:call_all('erl.calls.pushed', use, [list_to_binary(Directory)]),
        Write(1),
        [{Node, ok}] = py_cluster:push('py_parcel.inner'),
        Number = fun() -> py:call_all(operator, 'add', [py:const(py_parcel, number, #{node => Node}), 0], #{node => Node}) end,
        ?assertEqual([{ok, 1}, {ok, 1}], [R || {_, R} <- Number()]),
        ?assertEqual(<<"text">>, py:func(pkgutil, get_data, [<<"py_parcel.inner">>, <<"data.txt">>], #{node => Node})),
        Write(22),
        ok = file:delete(filename:join([Directory, "py_parcel", "inner", "data.txt"])),
        [{Node, ok}] = py_cluster:push(py_parcel),
        ?assertEqual([22], lists:usort([py:const(py_parcel, number, #{node => Node}) || _ <- lists:seq(1, 10)])),
        %% What the package has no more, it has nowhere.
        ?assertError({python, 'builtins.FileNotFoundError', _, _},
            py:func(pkgutil, get_data, [<<"py_parcel.inner">>, <<"data.txt">>], #{node => Node}))
    end).

what_has_no_source_cannot_be_pushed(Config) ->
    ?assertError({python, 'builtins.ModuleNotFoundError', "No module named 'no_such'", _}, py_cluster:push('no-such')),
    ?assertError({python, 'builtins.ValueError', _, _}, py_cluster:push(sys)),
    ?assertError({python, 'builtins.ValueError', _, _}, py_cluster:push(math)),
    %% Nobody to push it to.
    ?assertEqual([], py_cluster:push(json)),
    with_nodes(1, #{args => py_distribution:with_code()}, Config, fun([Node]) ->
        ok = py_cluster:connect(Node),
        ?assertEqual([], py_cluster:push(json))
    end).

what_was_pushed_is_taken_back(Config) ->
    Directory = module_directory(Config, "pushed_back"),
    ok = filelib:ensure_path(filename:join(Directory, "py_backpack")),
    Write = fun(Name, Text) -> ok = file:write_file(filename:join(Directory, Name), Text) end,
    Write("py_backpack/__init__.py", "from py_backpack.part import NUMBER\n"),
    Write("py_backpack/part.py", "NUMBER = 5\n"),
    Write("py_broken.py", "def f(:\n"),
    Write("py_native.so", ""),
    with_nodes(1, Config, fun([Node]) ->
        _ = py:call_all('erl.calls.pushed', use, [list_to_binary(Directory)]),
        Number = fun() -> py:call_all(builtins, eval, [<<"__import__('py_backpack').NUMBER">>], #{node => Node}) end,
        ?assertEqual([{Node, ok}], py_cluster:push(py_backpack)),
        ?assertMatch([{_, {ok, 5}} | _], Number()),
        ?assertEqual(lists:sort([{node(), ok}, {Node, ok}]), py_cluster:unpush('py_backpack.part')),
        ?assertMatch([{_, {error, {python, 'builtins.ModuleNotFoundError', _, _}}} | _], Number()),
        %% It can be given again.
        ?assertEqual([{Node, ok}], py_cluster:push(py_backpack)),
        ?assertMatch([{_, {ok, 5}} | _], Number()),
        _ = py_cluster:unpush(py_backpack),
        ?assertEqual(lists:sort([{node(), ok}, {Node, ok}]), py_cluster:unpush(nobodys_module)),
        %% What would break workers is refused before anything is sent.
        [?assertError({python, 'builtins.ValueError', _, _}, py_cluster:push(Module), Module) || Module <- [erl, 'erl.calls', erlang, cloudpickle, json, 'os.path']],
        ?assertError({python, 'builtins.SyntaxError', _, _}, py_cluster:push(py_broken)),
        Write("py_backpack/fast.so", ""),
        ?assertError({python, 'builtins.ValueError', "py_backpack has compiled modules" ++ _, _}, py_cluster:push(py_backpack)),
        ?assertError(badarg, py_cluster:unpush("string"))
    end).

module_directory(Config, Name) ->
    Directory = filename:join(?config(priv_dir, Config), Name),
    ok = file:make_dir(Directory),
    Directory.

%%% For people

the_status_shows_each_node(Config) ->
    with_nodes(1, Config, fun([Node]) ->
        {ok, Leader} = py_output:of_call(fun() -> py_cluster:status() end),
        Lines = string:split(string:trim(py_output:text(Leader)), "\n", all),
        py_output:stop(Leader),
        ?assertMatch(["NODE" ++ _, _, _], Lines),
        [?assertEqual(1, length([Line || Line <- Lines, string:prefix(Line, atom_to_list(N) ++ " ") =/= nomatch])) || N <- [node(), Node]]
    end).
