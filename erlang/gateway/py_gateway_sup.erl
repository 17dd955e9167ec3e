%%% @doc The gateways of this node, each under its path.
%%% @private
-module(py_gateway_sup).
-behaviour(supervisor).

-export([start_link/0, start_gateway/1, stop_gateway/1, infos/0, stop/0]).
-export([init/1]).

-define(STOP_MS, 5_000).

-spec start_link() -> supervisor:startlink_ret().
start_link() ->
    py_predecessor:await_end(?MODULE),
    supervisor:start_link({local, ?MODULE}, ?MODULE, []).

%% @doc Start one. Errors: `{py, {gateway, Path, Text}}', `{py, not_started}'.
-spec start_gateway(py_gateway:checked()) -> {ok, pid()} | {error, {py, py_error:reason()}}.
start_gateway(#{path := Path} = Options) ->
    py_gateway_log:start(),
    Child = #{id => Path, start => {py_gateway, start_link, [Options]}, shutdown => ?STOP_MS},
    case py_children:ask(?MODULE, {start_child, Child}) of
        {ok, Pid} -> {ok, Pid};
        {error, {already_started, _}} -> {error, {py, {gateway, Path, "this node listens there already"}}};
        {error, already_present} -> _ = py_children:ask(?MODULE, {delete_child, Path}), start_gateway(Options);
        {error, {{py, _} = Reason, _Child}} -> {error, Reason};
        {error, {py, _} = Reason} -> {error, Reason}
    end.

%% @doc End one, with its connections.
-spec stop_gateway(file:filename()) -> ok | {error, {py, py_error:reason()}}.
stop_gateway(Path) ->
    case py_children:remove(?MODULE, Path) of
        ok -> ok;
        {error, not_found} -> {error, {py, {gateway, Path, "there is no gateway at this path"}}};
        {error, {py, _}} = Error -> Error
    end.

%% @doc What there is of each.
-spec infos() -> [#{path := file:filename(), role := py_gateway_options:role(), connections := [pid()]}].
infos() -> [Info || {_, Pid} <- py_children:list(?MODULE), {ok, Info} <- [py_gateway:info(Pid)]].

%% @doc End all, in good order: before the pools are.
-spec stop() -> ok.
stop() -> lists:foreach(fun({Path, _}) -> stop_gateway(Path) end, py_children:list(?MODULE)).

-spec init([]) -> {ok, {supervisor:sup_flags(), [supervisor:child_spec()]}}.
init([]) ->
    py_gateway_tokens:new(),
    py_leaders:new(),
    {ok, {#{strategy => one_for_one, intensity => 10, period => 10}, []}}.
