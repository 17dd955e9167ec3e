%%% @doc The nodes that this one is to stay connected to: what `py_cluster:connect/2' was told with `reconnect'.
%%%
%%% ```
%%%   up --nodedown--> down --a second later--> trying --connected--> up
%%%                     ^                         |
%%%                     `--- in twice the time, ---'
%%%                          30 seconds at most
%%% '''
%%%
%%% OTP's `global' takes a network apart that has lost a connection (`prevent_overlapping_partitions'): so each of the nodes that
%%% are lost then is tried, not the one only that was first.
%%% @private
-module(py_cluster_links).
-behaviour(gen_server).

-export([start_link/0, keep/2, kept/0, attempt/1]).
-export([init/1, handle_call/3, handle_cast/2, handle_info/2]).
-export_type([link/0]).

-type link() :: up | {down, Ms :: non_neg_integer()}.
%% For how long.
-type state() :: #{node() => up | {Since :: integer(), PauseMs :: pos_integer()}}.

-define(FIRST_MS, 1_000).
-define(LAST_MS, 30_000).
%% How often a connection is tried at once, and the pause between two attempts. A host that does not answer is not tried again.
-define(ATTEMPTS, 3).
-define(ATTEMPT_MS, 100).
-define(SILENT_MS, 1_000).

-spec start_link() -> gen_server:start_ret().
start_link() ->
    py_predecessor:await_end(?MODULE),
    gen_server:start_link({local, ?MODULE}, ?MODULE, [], []).

%% @doc Stay connected to a node, or not any longer.
-spec keep(node(), boolean()) -> ok | {error, not_started}.
keep(Node, Keep) -> ask({keep, Node, Keep}, {error, not_started}).

%% @doc These nodes, and how it stands with each.
-spec kept() -> #{node() => link()}.
kept() -> ask(kept, #{}).

ask(Request, Otherwise) ->
    try
        gen_server:call(?MODULE, Request, infinity)
    catch
        exit:{noproc, _} -> Otherwise
    end.

%% @doc A process that connects to a node, and ends with `{connected, ok | {error, {node_down, Node} | {not_distributed, Node}}}'. It may take as long as
%% the run-time system's `net_setuptime' where the host does not answer.
-spec attempt(node()) -> no_return().
attempt(Node) -> exit({connected, connected(Node, ?ATTEMPTS)}).

connected(Node, Attempts) ->
    Began = erlang:monotonic_time(millisecond),
    case net_kernel:connect_node(Node) of
        true ->
            ok;
        %% One whose connection was lost just now refuses another until it has noticed.
        false when Attempts > 1 ->
            case erlang:monotonic_time(millisecond) - Began < ?SILENT_MS of
                true -> receive after ?ATTEMPT_MS -> connected(Node, Attempts - 1) end;
                false -> {error, {node_down, Node}}
            end;
        false ->
            {error, {node_down, Node}};
        ignored ->
            {error, {not_distributed, Node}}
    end.

%%% The process

-spec init([]) -> {ok, state()}.
init([]) ->
    ok = net_kernel:monitor_nodes(true, [{node_type, all}]),
    {ok, #{}}.

-spec handle_call({keep, node(), boolean()} | kept, gen_server:from(), state()) -> {reply, term(), state()}.
handle_call({keep, Node, false}, _From, Links) ->
    {reply, ok, maps:remove(Node, Links)};
handle_call({keep, Node, true}, _From, Links) when is_map_key(Node, Links) ->
    {reply, ok, Links};
handle_call({keep, Node, true}, _From, Links) ->
    case lists:member(Node, nodes(connected)) of
        true -> {reply, ok, Links#{Node => up}};
        false -> {reply, ok, lost(Node, Links)}
    end;
handle_call(kept, _From, Links) ->
    Now = erlang:monotonic_time(millisecond),
    {reply, maps:map(fun(_, up) -> up; (_, {Since, _}) -> {down, Now - Since} end, Links), Links}.

lost(Node, Links) ->
    _ = later(Node, ?FIRST_MS),
    Links#{Node => {erlang:monotonic_time(millisecond), ?FIRST_MS}}.

later(Node, Ms) -> erlang:send_after(Ms, self(), {try_again, Node}).

-spec handle_cast(term(), state()) -> {noreply, state()}.
handle_cast(_Message, Links) -> {noreply, Links}.

-spec handle_info(term(), state()) -> {noreply, state()}.
handle_info({nodedown, Node, _}, Links) when is_map_key(Node, Links) ->
    {noreply, lost(Node, Links)};
handle_info({nodeup, Node, _}, Links) when is_map_key(Node, Links) ->
    {noreply, Links#{Node => up}};
handle_info({try_again, Node}, Links) ->
    case Links of
        #{Node := {Since, Pause}} ->
            Self = self(),
            _ = spawn(fun() -> net_kernel:connect_node(Node), Self ! {tried, Node} end),
            {noreply, Links#{Node => {Since, min(2 * Pause, ?LAST_MS)}}};
        #{} ->
            {noreply, Links}
    end;
handle_info({tried, Node}, Links) ->
    _ =
        case Links of
            #{Node := {_, Pause}} -> later(Node, Pause);
            #{} -> ok
        end,
    {noreply, Links};
handle_info(_Message, Links) ->
    {noreply, Links}.
