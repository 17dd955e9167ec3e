%%% @doc A function on another node, which ends with its caller: OTP's `erpc', and a process there that watches.
%%%
%%% ```
%%%   caller --erpc--> runner --call--> worker
%%%      ^               ^
%%%      `-- watcher ----'     monitors both; kills the runner when the caller is gone
%%% '''
%%%
%%% So a caller that dies, is cancelled, or whose node is lost, cancels what runs for it on the other node. A caller with a
%%% timeout lives on after it: a process that ends with the call stands for it, so that what a node begins too late, since it
%%% had stopped for a while, ends at once. The result brings what the pool has in hand there, for {@link py_nodes}.
%%% @private
-module(py_remote).

-export([call/4, multicall/3, end_with/1]).
%% For other nodes.
-export([run/3]).

-type mfargs() :: {module(), Function :: atom(), Args :: [term()]}.
-type failure() :: timeout | not_started | cancelled | {node_down, node()}.

%% @doc Run a function of this application on another node. `not_started': that node does not have it; `cancelled': somebody
%% has ended it there.
-spec call(node(), py_config:pool_name(), mfargs(), timeout()) -> {ok, term()} | {error, failure()}.
call(Node, Pool, MFArgs, infinity) ->
    call(self(), Node, Pool, MFArgs, infinity);
call(Node, Pool, MFArgs, Timeout) ->
    Caller = self(),
    Waiting = spawn(fun() -> waiting(Caller) end),
    try
        call(Waiting, Node, Pool, MFArgs, Timeout)
    after
        Waiting ! over
    end.

waiting(Caller) ->
    Monitor = monitor(process, Caller),
    receive
        over -> ok;
        {'DOWN', Monitor, process, _, _} -> ok
    end.

call(Caller, Node, Pool, MFArgs, Timeout) ->
    try
        %% With the timeout, too, for a node that has stopped answering and is still taken for connected.
        {Result, Load} = erpc:call(Node, ?MODULE, run, [Caller, Pool, MFArgs], Timeout),
        py_nodes:report(Pool, Node, Load),
        {ok, Result}
    catch
        error:{erpc, timeout} -> {error, timeout};
        error:{erpc, noconnection} -> {error, {node_down, Node}};
        error:{exception, undef, _} -> {error, not_started};
        exit:{signal, _} -> {error, cancelled}
    end.

%% @doc Run it on each of these nodes, for at most so long: what each of them has answered, in their order.
-spec multicall([node()], mfargs(), timeout()) -> [{node(), {ok, term()} | {error, failure()}}].
multicall(Nodes, {Module, Function, Args}, Timeout) ->
    Results = erpc:multicall(Nodes, Module, Function, Args, Timeout),
    [{Node, answer(Node, Result)} || {Node, Result} <- lists:zip(Nodes, Results)].

answer(_Node, {ok, Result}) -> {ok, Result};
answer(_Node, {error, {erpc, timeout}}) -> {error, timeout};
answer(Node, {error, {erpc, noconnection}}) -> {error, {node_down, Node}};
answer(_Node, {exit, {signal, _}}) -> {error, cancelled};
%% Its modules, tables or processes are not there.
answer(_Node, _) -> {error, not_started}.

%% @doc The other end of {@link call/4}.
-spec run(Caller :: pid(), py_config:pool_name(), mfargs()) -> {term(), py_nodes:load()}.
run(Caller, Pool, {Module, Function, Args}) ->
    end_with(Caller),
    {apply(Module, Function, Args), py_nodes:load(Pool)}.

%% @doc The calling process is killed when that one ends, whatever it waits for.
-spec end_with(pid()) -> ok.
end_with(Caller) ->
    Runner = self(),
    _ = spawn(fun() -> watch(Caller, Runner) end),
    ok.

watch(Caller, Runner) ->
    Calling = monitor(process, Caller),
    Running = monitor(process, Runner),
    receive
        {'DOWN', Calling, process, _, _} -> exit(Runner, kill);
        {'DOWN', Running, process, _, _} -> ok
    end.
