%%% @doc On which nodes a pool is, and which of them gets a call of the scope `cluster'.
%%%
%%% The process that looks after a pool is a member of an OTP `pg' group, so every connected node knows where pools of a
%%% name are, and forgets those of a node that is gone. Nothing else is shared. The choice is made by the caller's process,
%%% as that of a worker is:
%%%
%%% <ol>
%%% <li>this node, while one of its workers has nothing to do;</li>
%%% <li>else the node with the fewest calls for each worker that serves, this one before others.</li>
%%% </ol>
%%%
%%% What another node has in hand it says with each result. Until the next one comes, the calls that were sent since are
%%% added. What was not heard for a while is asked for, in the background: no call waits for that.
%%% @private
-module(py_nodes).

-export([new/0, child_spec/0, start_link/0, join/1, weigh/2, members/1, pools/0, pick/2, load/1, report/3, part/1]).
%% For other nodes.
-export([host_stream/1]).
-export_type([load/0]).

-type load() :: {InHand :: non_neg_integer(), Serving :: non_neg_integer()} | none.
%% The calls of a pool on one node, and how many of its workers can serve; `none' where it is not.

-define(SCOPE, ?MODULE).
%% `{{Pool, Node}, InHand, Serving, SentSince, HeardMs}'
-define(TABLE, py_node_loads).
-define(SENT, 4).
-define(HEARD, 5).
-define(OLD_MS, 500).
-define(ASK_MS, 5_000).
-define(GROUPED_MS, 1_000).
%% More than any number of calls can cost: a pool whose workers all start, or are degraded.
-define(NOT_SERVING, 1 bsl 40).

%% @doc Make the table of what other nodes have in hand; it belongs to the calling process.
-spec new() -> ok.
new() ->
    ?TABLE = ets:new(?TABLE, [named_table, public, set, {read_concurrency, true}, {write_concurrency, true}]),
    ok.

%% @doc The process behind the groups.
-spec child_spec() -> supervisor:child_spec().
child_spec() -> #{id => ?SCOPE, start => {?MODULE, start_link, []}}.

-spec start_link() -> {ok, pid()} | {error, term()}.
start_link() ->
    py_predecessor:await_end(?SCOPE),
    pg:start_link(?SCOPE).

%% @doc The calling process looks after the pool of that name on this node.
-spec join(py_config:pool_name()) -> ok.
join(Pool) ->
    Self = self(),
    grouped(fun() -> pg:join(?SCOPE, Pool, Self) end).

%% `pg' tells all nodes itself, and is suspended while one does not read. What was asked of it is done then.
grouped(Change) ->
    {Changer, Monitor} = spawn_monitor(Change),
    receive
        {'DOWN', Monitor, process, Changer, normal} -> ok;
        {'DOWN', Monitor, process, Changer, Reason} -> exit(Reason)
    after ?GROUPED_MS ->
        demonitor(Monitor, [flush]),
        ok
    end.

%% @doc The calling process looks after so many workers. It is in the group of those as often: with pools that are called in turn or by chance,
%% each node gets what its workers are of all.
-spec weigh(py_config:pool_name(), Workers :: non_neg_integer()) -> ok.
weigh(Pool, Workers) ->
    Group = {workers, Pool},
    Self = self(),
    case Workers - length([Pid || Pid <- pg:get_local_members(?SCOPE, Group), Pid =:= Self]) of
        0 -> ok;
        More when More > 0 -> grouped(fun() -> pg:join(?SCOPE, Group, lists:duplicate(More, Self)) end);
        Fewer -> grouped(fun() -> pg:leave(?SCOPE, Group, lists:duplicate(-Fewer, Self)) end)
    end.

%% @doc The nodes that have a pool of that name, sorted; none where the application does not run here.
-spec members(py_config:pool_name()) -> [node()].
members(Pool) -> lists:usort([node(Pid) || Pid <- pg:get_members(?SCOPE, Pool)]).

%% @doc The names of all pools in the cluster, sorted.
-spec pools() -> [py_config:pool_name()].
pools() ->
    try
        lists:sort([Pool || Pool <- pg:which_groups(?SCOPE), is_atom(Pool)])
    catch
        %% It has no table where it does not run.
        error:badarg -> []
    end.

%% @doc The node for the next call, none of `Without'; `none' where there is no other.
-spec pick(py_config:pool_name(), Without :: [node()]) -> {ok, node()} | none.
pick(Pool, Without) ->
    case scheduler(Pool) of
        Scheduler when Scheduler =:= random; Scheduler =:= round_robin ->
            in_turn(Scheduler, Pool, places(Pool, Without));
        _ ->
            case load(Pool) of
                {InHand, Serving} when InHand < Serving, Without =:= [] -> {ok, node()};
                Here -> least_busy(Pool, Here, members(Pool) -- Without)
            end
    end.

%% Where the pool is not, nobody has said how.
scheduler(Pool) ->
    case py_registry:pool(Pool) of
        {ok, #{scheduler := Scheduler}} -> Scheduler;
        {error, _} -> least_busy
    end.

%% A node for each worker. The first of all nodes come before the second of any.
places(Pool, Without) ->
    Nodes = [Node || Pid <- pg:get_members(?SCOPE, {workers, Pool}), Node <- [node(Pid)], not lists:member(Node, Without)],
    {Places, _} = lists:mapfoldl(
        fun(Node, Seen) ->
            Nth = maps:get(Node, Seen, 0) + 1,
            {{Nth, Node}, Seen#{Node => Nth}}
        end,
        #{},
        Nodes
    ),
    [Node || {_, Node} <- lists:sort(Places)].

in_turn(_Scheduler, _Pool, []) ->
    none;
in_turn(random, Pool, Nodes) ->
    chosen(Pool, lists:nth(rand:uniform(length(Nodes)), Nodes));
in_turn(round_robin, Pool, Nodes) ->
    Turn = ets:update_counter(?TABLE, {turn, Pool}, 1, {{turn, Pool}, 0}),
    chosen(Pool, lists:nth(1 + Turn rem length(Nodes), Nodes)).

least_busy(_Pool, _Here, []) ->
    none;
least_busy(Pool, Here, Nodes) ->
    Now = erlang:monotonic_time(millisecond),
    {_, _, Node} = lists:min([candidate(Node, Pool, Here, Now) || Node <- Nodes]),
    chosen(Pool, Node).

%% Among others that cost the same, each gets its share.
candidate(Node, _Pool, Here, _Now) when Node =:= node() -> {cost(Here, 0), 0, Node};
candidate(Node, Pool, _Here, Now) -> {remote_cost(Node, Pool, Now), rand:uniform(1_000_000), Node}.

remote_cost(Node, Pool, Now) ->
    case ets:lookup(?TABLE, {Pool, Node}) of
        [{_, InHand, Serving, Sent, Heard}] ->
            %% One that is known to be idle gets a call, and tells by that; one where nobody serves gets none.
            Now - Heard > ?OLD_MS andalso (InHand + Sent > 0 orelse Serving =:= 0) andalso ask(Node, Pool, Now),
            cost({InHand, Serving}, Sent);
        [] ->
            cost({0, 1}, 0)
    end.

cost(none, _Sent) -> ?NOT_SERVING;
cost({InHand, 0}, Sent) -> ?NOT_SERVING + InHand + Sent;
cost({InHand, Serving}, Sent) -> 1_000 * (InHand + Sent + 1) div Serving.

chosen(Pool, Node) when Node =/= node() ->
    Key = {Pool, Node},
    _ = ets:update_counter(?TABLE, Key, {?SENT, 1}, {Key, 0, 1, 0, erlang:monotonic_time(millisecond)}),
    {ok, Node};
chosen(_Pool, Node) ->
    {ok, Node}.

%% Nobody else asks before the time is over again.
ask(Node, Pool, Now) ->
    ets:update_element(?TABLE, {Pool, Node}, {?HEARD, Now}) andalso
        spawn(fun() ->
            try
                report(Pool, Node, erpc:call(Node, ?MODULE, load, [Pool], ?ASK_MS))
            catch
                %% It is gone, which its group tells, or does not answer.
                error:{erpc, _} -> ok
            end
        end).

%% @doc What the pool of that name has in hand on this node.
-spec load(py_config:pool_name()) -> load().
load(Pool) ->
    case py_registry:pool(Pool) of
        {ok, #{load := Load, size := Size}} -> load(Load, Size, 0, 0);
        {error, _} -> none
    end.

load(_Load, 0, InHand, Serving) ->
    {InHand, Serving};
load(Load, Slot, InHand, Serving) ->
    case py_registry:is_serving(Load, Slot) of
        true -> load(Load, Slot - 1, InHand + py_registry:in_hand(Load, Slot), Serving + 1);
        false -> load(Load, Slot - 1, InHand, Serving)
    end.

%% @doc Another node has said what a pool has in hand there.
-spec report(py_config:pool_name(), node(), load()) -> ok.
report(Pool, Node, Load) ->
    _ =
        try
            case Load of
                none -> ets:delete(?TABLE, {Pool, Node});
                {InHand, Serving} ->
                    ets:insert(?TABLE, {{Pool, Node}, InHand, Serving, 0, erlang:monotonic_time(millisecond)})
            end
        catch
            %% The option `node' calls from nodes where the application does not run.
            error:badarg -> false
        end,
    ok.

%%% The end of this node's part

%% @doc The other nodes send no more calls here, and streams that they have open here may end, for so long. Afterwards nobody is waited for again.
-spec part(timeout()) -> ok.
part(Timeout) ->
    case ets:insert_new(?TABLE, {parted}) of
        true ->
            grouped(fun() -> [pg:leave(?SCOPE, Group, pg:get_local_members(?SCOPE, Group)) || Group <- pg:which_local_groups(?SCOPE)] end),
            await_streams([{Host, monitor(process, Host)} || [Host] <- ets:match(?TABLE, {{stream, '$1'}})], py_deadline:after_ms(Timeout));
        false ->
            ok
    end.

await_streams([{Host, Monitor} | Rest], Deadline) ->
    receive
        {'DOWN', Monitor, process, Host, _} -> ok
    after py_deadline:left_ms(Deadline) -> demonitor(Monitor, [flush])
    end,
    await_streams(Rest, Deadline);
await_streams([], _Deadline) ->
    ok.

%% @doc A stream of another node reads an iterator of this one. The calling process stands for it, until it ends.
-spec host_stream(pid()) -> ok.
host_stream(Stream) ->
    Monitor = monitor(process, Stream),
    try
        true = ets:insert(?TABLE, {{stream, self()}}),
        receive {'DOWN', Monitor, process, Stream, _} -> ok end,
        true = ets:delete(?TABLE, {stream, self()}),
        ok
    catch
        %% The application has stopped, and the table with it.
        error:badarg -> ok
    end.
