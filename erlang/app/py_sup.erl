%%% @doc The root of the tree: one supervisor below it holds the pools, one process looks after what they may leave, one owns
%%% what they share, one (OTP's `pg') tells other nodes which pools there are, one has the modules that nodes give each
%%% other. Without these four no pool runs: should one die, the pools are started again. Sessions, which have their workers from a pool, come
%%% then; gateways, services and the page last: they use all of it.
%%%
%%% The tables of pools, workers and nodes belong to this process, so that they outlive whatever restarts below.
%%% @private
-module(py_sup).
-behaviour(supervisor).

-export([start_link/0, stop/1]).
-export([init/1]).

-spec start_link() -> supervisor:startlink_ret().
start_link() -> supervisor:start_link({local, ?MODULE}, ?MODULE, []).

%% @doc Take the tree down, for an application whose start fails half way.
-spec stop(pid()) -> ok.
stop(Sup) ->
    unlink(Sup),
    Monitor = monitor(process, Sup),
    exit(Sup, shutdown),
    receive
        {'DOWN', Monitor, process, Sup, _} -> ok
    end.

-spec init([]) -> {ok, {supervisor:sup_flags(), [supervisor:child_spec()]}}.
init([]) ->
    py_registry:new(),
    py_nodes:new(),
    py_key:begin_run(),
    Pools = #{id => py_pools_sup, start => {py_pools_sup, start_link, []}, type => supervisor},
    Watchdog = #{id => py_watchdog, start => {py_watchdog, start_link, []}},
    Zygotes = #{id => py_zygote_sup, start => {py_zygote_sup, start_link, []}, type => supervisor},
    Shared = #{id => py_shared_owner, start => {py_shared_owner, start_link, []}},
    Sessions = #{id => py_sessions_sup, start => {py_sessions_sup, start_link, []}, type => supervisor},
    Links = #{id => py_cluster_links, start => {py_cluster_links, start_link, []}},
    Outbox = #{id => py_outbox, start => {py_outbox, start_link, []}},
    Pushed = #{id => py_cluster_modules, start => {py_cluster_modules, start_link, []}},
    Dispatchers = #{id => py_dispatcher_sup, start => {py_dispatcher_sup, start_link, []}, type => supervisor},
    Gateways = #{id => py_gateway_sup, start => {py_gateway_sup, start_link, []}, type => supervisor},
    Services = #{id => py_service_sup, start => {py_service_sup, start_link, []}, type => supervisor},
    Page = #{id => py_dashboard_sup, start => {py_dashboard_sup, start_link, []}, type => supervisor},
    Children = [py_nodes:child_spec(), Watchdog, Zygotes, Shared, Pushed, Pools, Sessions, Dispatchers, Gateways, Services, Page, Links, Outbox],
    {ok, {#{strategy => rest_for_one, intensity => 10, period => 10}, Children}}.
