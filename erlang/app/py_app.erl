%%% @doc The OTP application `py': starts and stops the supervision tree.
%%% @private
-module(py_app).
-behaviour(application).

-export([start/2, prep_stop/1, stop/1]).

-spec start(application:start_type(), term()) -> {ok, pid()} | {error, term()}.
start(_Type, _Args) ->
    case start_tree() of
        {ok, Sup} ->
            case served(py_config:pools()) of
                ok ->
                    {ok, Sup};
                {error, _} = Error ->
                    py_sup:stop(Sup),
                    failed(Error)
            end;
        {error, {py, _}} = Error ->
            failed(Error);
        Other ->
            Other
    end.

%% Not refused: it may be another version's, or another application's of this name. Without a domain, of which OTP's own handler would show nothing.
warn(Problem) ->
    logger:warning("the application's environment: ~ts", [py_options:describe(Problem)]).

%% `py:start/0', which has set `start_failure', tells why, in one line of log. To the application's master it is no crash then, of
%% which it would say a page.
failed({error, Reason} = Error) ->
    case application:get_env(py, start_failure) of
        {ok, _} ->
            application:set_env(py, start_failure, Reason),
            {error, shutdown};
        undefined ->
            Error
    end.

%% Sessions are opened later, memory is shared later; what is wrong with their options is told now.
start_tree() ->
    Environment = py_config:environment(),
    Checks = [py_config:max_shared_bytes(), py_config:former_cookies(), py_session_options:configured(), Environment, py_gateway:configured(), py_dashboard:configured(), py_env_spec:configured()],
    case [Error || {error, _} = Error <- Checks] of
        [] ->
            {ok, Unknown} = Environment,
            [warn(Problem) || Problem <- Unknown],
            case py_directory:new() of
                ok -> py_sup:start_link();
                {error, Reason} -> {error, {py, Reason}}
            end;
        [{error, Reason} | _] ->
            {error, {py, Reason}}
    end.

%% What runs may end, for as long as its pool allows.
-spec prep_stop(State) -> State.
prep_stop(State) ->
    py_dashboard:stop(),
    py_service_sup:drain(default),
    py_gateway_sup:stop(),
    _ = py_runs_sup:drain(),
    py_nodes:part(longest_drain()),
    py_registry:stopping(),
    py_pools_sup:drain(py_registry:pools(), default),
    State.

%% `infinity' is more than any number.
longest_drain() -> lists:max([0 | [Timeout || {_, #{drain_timeout := Timeout}} <- py_registry:configs()]]).

-spec stop(term()) -> ok.
stop(_State) ->
    py_gateway_log:stop(),
    py_directory:delete(),
    py_registry:forget_pools().

%% Drivers find what they may need.
served(Pools) ->
    case start_pools(Pools) of
        ok ->
            true = py_registry:started(),
            %% As many as there may be, nobody waits for them.
            _ = spawn(fun py_runs_sup:resume/0),
            %% Nobody waits for that either: its Python imports what takes a while.
            _ = spawn(fun py_dashboard:start_configured/0),
            {ok, Gateways} = py_gateway:configured(),
            start_gateways(Gateways);
        {error, _} = Error ->
            Error
    end.

start_gateways([Options | Rest]) ->
    case py_gateway_sup:start_gateway(Options) of
        {ok, _} -> start_gateways(Rest);
        {error, _} = Error -> Error
    end;
start_gateways([]) ->
    ok.

start_pools({ok, Pools}) -> start_each(maps:to_list(Pools));
start_pools({error, Reason}) -> {error, {py, Reason}}.

start_each([{Name, Config} | Rest]) ->
    case py_pools_sup:start_pool(Name, Config) of
        {ok, _} -> start_each(Rest);
        {error, _} = Error -> Error
    end;
start_each([]) ->
    ok.
