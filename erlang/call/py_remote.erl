%%% @doc A function of this application on another node, which ends with its caller; see {@link py_transit}, which carries it there.
%%%
%%% A caller that dies, is cancelled, has waited long enough, or whose node is lost, cancels what runs for it on the other node. What
%%% a node begins too late, since it had stopped for a while, ends at once. The result brings what the pool has in hand there,
%%% for {@link py_nodes}.
%%% @private
-module(py_remote).

-export([call/4, multicall/3]).
%% For other nodes.
-export([run/2]).

%% @doc Run a function of this application on another node. `not_started': that node does not have it; `cancelled': somebody
%% has ended it there.
-spec call(node(), py_config:pool_name(), py_transit:mfargs(), timeout()) -> {ok, term()} | {error, py_transit:failure()}.
call(Node, Pool, MFArgs, Timeout) ->
    case py_transit:ask(tied, Node, {?MODULE, run, [Pool, MFArgs]}, Timeout) of
        {ok, {Result, Load}} ->
            py_nodes:report(Pool, Node, Load),
            {ok, Result};
        {error, _} = Error ->
            Error
    end.

%% @doc Run it on each of these nodes, for at most so long: what each of them has answered, in their order.
-spec multicall([node()], py_transit:mfargs(), timeout()) -> [{node(), {ok, term()} | {error, py_transit:failure()}}].
multicall(Nodes, MFArgs, Timeout) -> py_transit:ask_each(parts, Nodes, MFArgs, Timeout).

%% @doc The other end of {@link call/4}.
-spec run(py_config:pool_name(), py_transit:mfargs()) -> {term(), py_nodes:load()}.
run(Pool, {Module, Function, Args}) -> {apply(Module, Function, Args), py_nodes:load(Pool)}.
