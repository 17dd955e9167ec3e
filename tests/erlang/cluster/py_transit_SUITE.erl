%%% What goes between two nodes: what is large, and what is sent to a node that does not read.
-module(py_transit_SUITE).

-include_lib("common_test/include/ct.hrl").
-include_lib("stdlib/include/assert.hrl").

-export([suite/0, all/0, init_per_suite/1, end_per_suite/1]).
%% For other nodes.
-export([raises/1, starts/0]).
-export([
    what_is_large_arrives_as_it_was/1,
    what_a_function_raises_there_is_raised_here/1,
    a_caller_is_never_suspended_by_a_frozen_node/1,
    what_is_large_leaves_nothing_when_its_time_is_over/1,
    a_caller_that_dies_takes_what_is_large_back/1,
    a_frozen_node_is_left_out_by_others/1
]).

suite() -> [{timetrap, {minutes, 5}}].

all() ->
    [
        what_is_large_arrives_as_it_was,
        what_a_function_raises_there_is_raised_here,
        a_caller_is_never_suspended_by_a_frozen_node,
        what_is_large_leaves_nothing_when_its_time_is_over,
        a_caller_that_dies_takes_what_is_large_back,
        a_frozen_node_is_left_out_by_others
    ].

init_per_suite(Config) -> py_distribution:start_pair(2, Config).

end_per_suite(Config) -> py_distribution:stop_pair(Config).

%% Ten megabytes.
large() -> binary:copy(<<"0123456789">>, 1_000_000).

what_is_large_arrives_as_it_was(Config) ->
    Node = ?config(node, Config),
    On = #{node => Node},
    Large = large(),
    ?assertEqual(10_000_000, py:func(builtins, len, [Large], On)),
    ?assertEqual(Large, py:func(builtins, bytes, [{bytes, Large}], On#{binaries => bytes})),
    ?assertEqual(lists:seq(0, 299_999), py:func(builtins, list, [py:func(builtins, range, [300_000])], On)),
    %% Around what is no longer sent in one message, and around a part of it.
    [?assertEqual({N, B}, transported(Node, {N, B})) || N <- [59_999, 60_000, 60_001, 239_900, 240_000, 240_100, 300_001], B <- [binary:copy(<<"x">>, N)]],
    Odd = {self(), make_ref(), fun lists:reverse/1, lists:duplicate(100_000, {<<"a">>, 1.5, #{b => large}})},
    ?assertEqual(Odd, transported(Node, Odd)),
    %% Many at a time, none of which gets another's parts.
    Callers = [py_caller:start(fun() -> transported(Node, {N, Large}) end) || N <- lists:seq(1, 6)],
    ?assertEqual([{ok, {N, Large}} || N <- lists:seq(1, 6)], py_caller:results(Callers)),
    ?assertEqual([], py_application:messages()).

transported(Node, Term) ->
    {ok, [Back]} = py_transit:ask(parts, Node, {lists, reverse, [[Term]]}, 60_000),
    Back.

%% What starts the application for another node.
starts() ->
    [Pid || Pid <- processes(), {current_stacktrace, Stack} <- [process_info(Pid, current_stacktrace)], lists:keymember(py_cluster, 1, Stack)].

raises(Class) -> erlang:raise(Class, why, []).

what_a_function_raises_there_is_raised_here(Config) ->
    Node = ?config(node, Config),
    ?assertError({exception, why, _}, py_transit:ask(parts, Node, {?MODULE, raises, [error]}, infinity)),
    ?assertExit({exception, why}, py_transit:ask(tied, Node, {?MODULE, raises, [exit]}, infinity)),
    ?assertThrow(why, py_transit:ask(plain, Node, {?MODULE, raises, [throw]}, infinity)),
    ?assertEqual({error, not_started}, py_transit:ask(plain, Node, {no_such, module, []}, infinity)),
    ?assertEqual({error, {node_down, nobody@nowhere}}, py_transit:ask(parts, nobody@nowhere, {erlang, node, []}, infinity)),
    ?assertEqual([{Node, {error, not_started}}, {nobody@nowhere, {error, {node_down, nobody@nowhere}}}],
        py_transit:ask_each(parts, [Node, nobody@nowhere], {?MODULE, raises, [error]}, infinity)).

%% Where a caller stands.
place({Pid, _}) ->
    case process_info(Pid, [status, current_function]) of
        [{status, Status}, {current_function, {Module, _, _}}] -> {Status, Module};
        undefined -> gone
    end.

senders() ->
    [Pid || Pid <- processes(), {current_stacktrace, Stack} <- [process_info(Pid, current_stacktrace)], lists:keymember(py_transit, 1, Stack)].

fill(Node) ->
    {nobody, Node} ! binary:copy(<<0>>, 100_000),
    fill(Node).

a_caller_is_never_suspended_by_a_frozen_node(Config) ->
    Node = ?config(node, Config),
    Large = {bytes, large()},
    py_distribution:while_frozen(Node, fun() ->
        %% More than the connection takes, however much that is: whoever sends from now on is suspended.
        {Filling, _} = Filler = py_caller:start(fun() -> fill(Node) end),
        py_eventually:holds(fun() -> process_info(Filling, status) =:= {status, suspended} end),
        Medium = {bytes, binary:part(large(), 0, 200_000)},
        Callers = [
            py_caller:start(fun() -> py:func(builtins, len, [Bytes], #{node => Node, timeout => 600_000}) end)
         || Bytes <- [Large | lists:duplicate(60, Medium)]
        ],
        py_eventually:holds(fun() -> lists:any(fun(Sender) -> process_info(Sender, status) =:= {status, suspended} end, senders()) end),
        py_eventually:holds(fun() -> lists:all(fun(Caller) -> place(Caller) =:= {waiting, py_transit} end, Callers) end),
        %% Timeouts hold behind all that.
        [
            ?assertError({py, timeout}, py:func(builtins, len, [Bytes], #{node => Node, timeout => 50}))
         || Bytes <- [Large, Medium, <<>>]
        ],
        ?assertError({py, timeout}, py:call_all(os, getpid, [], #{node => Node, timeout => 50})),
        ?assertEqual({error, {py, timeout}}, py_cluster:start(Node, #{timeout => 50})),
        Handle = py:async(os, getpid, [], #{node => Node}),
        ?assertEqual(timeout, py:yield(Handle, 0)),
        ok = py:cancel(Handle),
        lists:foreach(fun py_caller:kill/1, [Filler | Callers])
    end),
    ?assertEqual(3, py:func(operator, add, [1, 2], #{node => Node})),
    py_eventually:equals([], fun senders/0).

what_is_large_leaves_nothing_when_its_time_is_over(Config) ->
    Node = ?config(node, Config),
    py_distribution:while_frozen(Node, fun() ->
        [
            ?assertError({py, timeout}, py:func(builtins, len, [{bytes, <<N, (large())/binary>>}], #{node => Node, timeout => 20}))
         || N <- lists:seq(1, 5)
        ],
        py_eventually:equals([], fun senders/0)
    end),
    ?assertEqual(3, py:func(operator, add, [1, 2], #{node => Node})),
    py_eventually:equals([], fun() -> erpc:call(Node, py_cluster_SUITE, runners, []) end).

a_caller_that_dies_takes_what_is_large_back(Config) ->
    Node = ?config(node, Config),
    Large = {bytes, large()},
    py_distribution:while_frozen(Node, fun() ->
        Caller = py_caller:start(fun() -> py:func(builtins, len, [Large], #{node => Node}) end),
        py_eventually:holds(fun() -> length(senders()) > 1 end),
        py_caller:kill(Caller),
        py_eventually:equals([], fun senders/0)
    end),
    %% In the middle of it.
    [
        begin
            Caller = py_caller:start(fun() -> py:func(builtins, bytes, [Large], #{node => Node, binaries => bytes}) end),
            receive after Ms -> py_caller:kill(Caller) end
        end
     || Ms <- [0, 1, 2, 5, 10, 20, 40]
    ],
    py_eventually:equals([], fun senders/0),
    py_eventually:equals([], fun() -> erpc:call(Node, py_cluster_SUITE, runners, []) end).

a_frozen_node_is_left_out_by_others(Config) ->
    Node = ?config(node, Config),
    py_distribution:while_frozen(Node, fun() ->
        Large = large(),
        ?assertEqual(
            [{Node, {error, timeout}}, {node(), {ok, 10_000_000}}],
            py_transit:ask_each(parts, [Node, node()], {erlang, byte_size, [Large]}, 2_000)
        )
    end).
