%%% @doc Holds one supervisor for each pool. Pools do not depend on each other.
%%%
%%% What was started stands in the table, so that a new supervisor after a killed one starts the same pools; those that are
%%% somebody's (see {@link py_pool_owner}) are started by their owners.
%%% @private
-module(py_pools_sup).
-behaviour(supervisor).

-export([start_link/0, start_pool/2, stop_pool/2, drain/2]).
-export([init/1]).

-spec start_link() -> supervisor:startlink_ret().
start_link() ->
    py_predecessor:await_end(?MODULE),
    supervisor:start_link({local, ?MODULE}, ?MODULE, []).

%% @doc Start a pool from a checked configuration; returns when all of its workers serve.
%% Errors: `{error, {py, {already_started, Pid}}}', `{error, {py, {start, Name, Reason}}}' with the first worker's reason.
-spec start_pool(py_config:pool_name(), py_config:pool()) -> {ok, pid()} | {error, {py, term()}}.
start_pool(Name, Config) ->
    %% Of one whose start nobody waited for.
    _ = py_registry:take_failure(Name),
    case supervisor:start_child(?MODULE, child(Name, Config)) of
        {ok, Pid} ->
            case py_registry:take_failure(Name) of
                none ->
                    py_registry:put_config(Name, Config),
                    {ok, Pid};
                {error, Reason} ->
                    _ = supervisor:terminate_child(?MODULE, Name),
                    _ = supervisor:delete_child(?MODULE, Name),
                    py_registry:delete_workers(Name),
                    {error, {py, {start, Name, Reason}}}
            end;
        {error, {already_started, Pid}} -> {error, {py, {already_started, Pid}}};
        {error, already_present} ->
            _ = supervisor:delete_child(?MODULE, Name),
            start_pool(Name, Config);
        {error, Reason} ->
            py_registry:delete_workers(Name),
            {error, {py, {start, Name, reason(Reason)}}}
    end.

%% @doc Stop a pool and its workers, when their open calls have ended or after this time. `{error, not_found}' when there is
%% none of that name.
-spec stop_pool(py_config:pool_name(), Drain :: timeout() | default) -> ok | {error, not_found}.
stop_pool(Name, Drain) ->
    drain([Name], Drain),
    case supervisor:terminate_child(?MODULE, Name) of
        ok ->
            py_registry:delete_pool(Name),
            %% One that is somebody's is deleted already.
            _ = supervisor:delete_child(?MODULE, Name),
            ok;
        {error, not_found} -> {error, not_found}
    end.

%% @doc Let no new call into these pools, and wait for the open ones; `default': as long as each pool's `drain_timeout' says.
-spec drain([py_config:pool_name()], timeout() | default) -> ok.
drain(Names, Drain) ->
    lists:foreach(fun py_registry:close_pool/1, Names),
    Requests = [
        py_worker:drain(Worker, drain_timeout(Name, Drain))
     || Name <- Names, {_Slot, Worker} <- py_registry:workers(Name)
    ],
    lists:foreach(fun(Request) -> gen_server:receive_response(Request, infinity) end, Requests).

drain_timeout(Name, default) ->
    case lists:keyfind(Name, 1, py_registry:configs()) of
        {Name, #{drain_timeout := Timeout}} -> Timeout;
        false -> 0
    end;
drain_timeout(_Name, Drain) ->
    Drain.

-spec init([]) -> {ok, {supervisor:sup_flags(), [supervisor:child_spec()]}}.
init([]) ->
    Pools = [child(Name, Config) || {Name, Config} <- py_registry:configs(), not is_map_key(owner, Config)],
    Owners = #{id => {owners}, start => {py_pool_owners, start_link, []}},
    {ok, {#{strategy => one_for_one, intensity => 10, period => 10}, [Owners | Pools]}}.

child(Name, Config) ->
    Restart = case Config of #{owner := _} -> temporary; _ -> permanent end,
    #{id => Name, start => {py_pool_sup, start_link, [Name, Config]}, restart => Restart, type => supervisor}.

%% The supervisors in between wrap the reason in their own child specifications.
reason({{shutdown, {failed_to_start_child, _, Reason}}, _Child}) -> reason(Reason);
reason({shutdown, Reason}) -> Reason;
reason({{shutdown, Reason}, Child}) when is_tuple(Child), element(1, Child) =:= child -> Reason;
reason(Reason) -> Reason.
