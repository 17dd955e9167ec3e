%%% @doc The page's supervisor: it has a child where a page was asked for, and the port that it had, for the next life of that child.
%%% @private
-module(py_dashboard_sup).
-behaviour(supervisor).

-export([start_link/0, start_page/1, stop_page/0, port/0, put_port/1, server/0, put_server/1]).
-export([init/1]).

-define(STOP_MS, 5_000).

-spec start_link() -> supervisor:startlink_ret().
start_link() -> supervisor:start_link({local, ?MODULE}, ?MODULE, []).

%% @doc Start the page's process.
-spec start_page(py_dashboard_server:settings()) -> {ok, pid()} | {error, already_started | not_started}.
start_page(Settings) ->
    Child = #{id => page, start => {py_dashboard_server, start_link, [Settings]}, shutdown => ?STOP_MS},
    case py_children:ask(?MODULE, {start_child, Child}) of
        {ok, Pid} -> {ok, Pid};
        {error, {already_started, _}} -> {error, already_started};
        {error, already_present} -> stop_page(), start_page(Settings);
        {error, _} -> {error, not_started}
    end.

%% @doc End it, and forget its port.
-spec stop_page() -> ok.
stop_page() ->
    _ = py_children:remove(?MODULE, page),
    _ = catch ets:delete_all_objects(?MODULE),
    ok.

%% @doc The port that the page was served at last.
-spec port() -> {ok, inet:port_number()} | error.
port() ->
    case ets:lookup(?MODULE, port) of
        [{port, Port}] -> {ok, Port};
        [] -> error
    end.

-spec put_port(inet:port_number()) -> true.
put_port(Port) -> ets:insert(?MODULE, {port, Port}).

%% @doc The page's process.
-spec server() -> {ok, pid()} | error.
server() ->
    try ets:lookup(?MODULE, server) of
        [{server, Pid}] -> {ok, Pid};
        [] -> error
    catch
        error:badarg -> error
    end.

-spec put_server(pid()) -> true.
put_server(Pid) -> ets:insert(?MODULE, {server, Pid}).

-spec init([]) -> {ok, {supervisor:sup_flags(), [supervisor:child_spec()]}}.
init([]) ->
    ?MODULE = ets:new(?MODULE, [named_table, public]),
    {ok, {#{strategy => one_for_one, intensity => 10, period => 10}, []}}.
