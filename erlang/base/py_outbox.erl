%%% @doc Messages to processes of other nodes that nobody waits for an answer to: their sender is never suspended by a node that does not read.
%%%
%%% While that node reads, whoever sends does so itself. Else it gives the message to this process, which keeps them in order and has a
%%% *pusher* for each such node send one after the other: that one is suspended. As long as there is one, everything to its node goes this way. What
%%% is large goes so in any case, in parts (see {@link py_transit}).
%%%
%%% ```
%%%   sender --{give, ..}--> outbox --spawn--> pusher --!--> the other node
%%%          <--ok | full---        <--DOWN---
%%% '''
%%%
%%% When the connection is lost what is kept for that node goes, as what is under way does. `docs/architecture.md' ("Between nodes") has who may die when.
%%% @private
-module(py_outbox).
-behaviour(gen_server).

-export([start_link/0, send/2, post/2]).
-export([init/1, handle_call/3, handle_cast/2, handle_info/2]).

-record(box, {
    pusher :: pid(),
    %% What the pusher has, and what waits behind it, last first.
    pushed :: weight(),
    kept = [] :: [letter()],
    weight = {0, 0} :: weight()
}).
-type weight() :: {Count :: non_neg_integer(), Bytes :: non_neg_integer()}.
-type letter() :: {To :: pid(), Message :: term(), IsLarge :: boolean()}.
-type state() :: #{node() => #box{}}.

%% The nodes for which something is kept.
-define(TABLE, ?MODULE).
%% For one node.
-define(MOST_COUNT, 10_000).
-define(MOST_BYTES, 67_108_864).
%% How long a sender waits for room, and the pause between two attempts.
-define(ROOM_MS, 1_000).
-define(PAUSE_MS, 10).

-spec start_link() -> gen_server:start_ret().
start_link() ->
    py_predecessor:await_end(?MODULE),
    gen_server:start_link({local, ?MODULE}, ?MODULE, [], []).

%% @doc Send a message to a process of another node. `overload': as much as may is kept for that node, and it has taken nothing for a second.
-spec send(pid(), term()) -> ok | {error, overload}.
send(To, Message) ->
    given({To, Message, py_transit:is_large(Message)}, {1, erlang:external_size(Message)}, py_deadline:after_ms(?ROOM_MS)).

%% @doc The same of what there can't be much of: there is always room for it.
-spec post(pid(), term()) -> ok.
post(To, Message) ->
    ok = given({To, Message, false}, {0, 0}, infinity).

given({To, _, IsLarge} = Letter, Weight, Deadline) ->
    case not IsLarge andalso is_free(node(To)) andalso sent(Letter) of
        ok -> ok;
        _ -> give(Letter, Weight, Deadline)
    end.

is_free(Node) ->
    try
        not ets:member(?TABLE, Node)
    catch
        %% The application does not run here.
        error:badarg -> true
    end.

sent({To, Message, _}) -> erlang:send(To, Message, [nosuspend]).

give(Letter, Weight, Deadline) ->
    try gen_server:call(?MODULE, {give, Letter, Weight}, infinity) of
        ok ->
            ok;
        full ->
            case py_deadline:is_over(Deadline) of
                true -> {error, overload};
                false ->
                    receive after ?PAUSE_MS -> give(Letter, Weight, Deadline) end
            end
    catch
        %% Nor is there an order then.
        exit:_ ->
            _ = spawn(fun() -> push([Letter]) end),
            ok
    end.

%%% The process

-spec init([]) -> {ok, state()}.
init([]) ->
    ?TABLE = ets:new(?TABLE, [named_table, protected, set, {read_concurrency, true}]),
    ok = net_kernel:monitor_nodes(true, [{node_type, all}]),
    {ok, #{}}.

-spec handle_call({give, letter(), weight()}, gen_server:from(), state()) -> {reply, ok | full, state()}.
handle_call({give, {To, _, _} = Letter, Weight}, _From, Boxes) ->
    Node = node(To),
    case Boxes of
        #{Node := #box{pushed = Pushed, kept = Kept, weight = Before} = Box} ->
            After = added(Before, Weight),
            case Weight =:= {0, 0} orelse fits(added(Pushed, After)) of
                true -> {reply, ok, Boxes#{Node := Box#box{kept = [Letter | Kept], weight = After}}};
                false -> {reply, full, Boxes}
            end;
        #{} ->
            true = ets:insert(?TABLE, {Node}),
            {reply, ok, Boxes#{Node => #box{pusher = pusher([Letter]), pushed = Weight}}}
    end.

added({Count, Bytes}, {MoreCount, MoreBytes}) -> {Count + MoreCount, Bytes + MoreBytes}.

fits({Count, Bytes}) -> Count =< ?MOST_COUNT andalso Bytes =< ?MOST_BYTES.

-spec handle_cast(term(), state()) -> {noreply, state()}.
handle_cast(_Message, Boxes) -> {noreply, Boxes}.

-spec handle_info(term(), state()) -> {noreply, state()}.
handle_info({nodedown, Node, _}, Boxes) when is_map_key(Node, Boxes) ->
    {#box{pusher = Pusher}, Left} = maps:take(Node, Boxes),
    exit(Pusher, kill),
    true = ets:delete(?TABLE, Node),
    {noreply, Left};
handle_info({'DOWN', _, process, Pusher, _}, Boxes) ->
    case [Node || {Node, #box{pusher = Of}} <- maps:to_list(Boxes), Of =:= Pusher] of
        [Node] -> {noreply, next(Node, map_get(Node, Boxes), Boxes)};
        [] -> {noreply, Boxes}
    end;
handle_info(_Message, Boxes) ->
    {noreply, Boxes}.

next(Node, #box{kept = []}, Boxes) ->
    true = ets:delete(?TABLE, Node),
    maps:remove(Node, Boxes);
next(Node, #box{kept = Kept, weight = Weight}, Boxes) ->
    Boxes#{Node := #box{pusher = pusher(lists:reverse(Kept)), pushed = Weight}}.

%%% The pusher

%% It ends with this process: what it has not sent then goes with the rest.
pusher(Letters) ->
    Outbox = self(),
    {Pusher, _} = spawn_monitor(fun() ->
        py_transit:end_with(Outbox),
        push(Letters)
    end),
    Pusher.

push([{To, Message, true} | Rest]) ->
    _ = py_transit:ask(parts, node(To), {erlang, send, [To, Message]}, infinity),
    push(Rest);
push([{To, Message, false} | Rest]) ->
    _ = To ! Message,
    push(Rest);
push([]) ->
    ok.
