%%% @doc Durable runs: the server and what must outlive it. Started with the first run, or by a start of the application that finds runs in
%%% its `state_dir'; where there are none there is no process and no file.
%%% @private
-module(py_runs_sup).
-behaviour(supervisor).

-export([start_link/1, ensure/0, resume/0, drain/0]).
-export([init/1]).

-define(TRIES, 100).
-define(PAUSE_MS, 10).

-spec start_link(file:filename_all()) -> supervisor:startlink_ret().
start_link(Directory) ->
    py_predecessor:await_end(?MODULE),
    supervisor:start_link({local, ?MODULE}, ?MODULE, Directory).

%% @doc Have the server run.
-spec ensure() -> ok | {error, {py, py_error:reason()}}.
ensure() ->
    case py_run_table:is_read() of
        true ->
            ok;
        false ->
            case py_store:directory() of
                {error, _} = Error -> Error;
                {_, Directory} -> start(Directory)
            end
    end.

%% @doc The same where the directory that the application names has runs in it: they go on. What keeps them from it is told in the log.
-spec resume() -> ok.
resume() ->
    case py_store:directory() of
        {configured, Directory} ->
            case filelib:is_regular(filename:join(Directory, <<"journal">>)) andalso ensure() of
                {error, Error} -> logger:error("runs: ~ts", [py_error:text(Error)], #{domain => [py]});
                _ -> ok
            end;
        _ ->
            ok
    end.

%% @doc The application is about to stop: what runs may end, nothing more begins. The runs that end with the node's services.
-spec drain() -> [py_run_state:id()].
drain() ->
    try gen_server:call(py_runs, drain, infinity) of
        {ok, Ids} -> Ids
    catch
        exit:_ -> []
    end.

%% A server that fails again and again ends its own supervisor, which says `shutdown', and nothing else of the application: the next
%% use tries again.
start(Directory) ->
    Child = #{id => ?MODULE, start => {?MODULE, start_link, [Directory]}, type => supervisor, restart => transient},
    try supervisor:start_child(py_sup, Child) of
        {ok, _} -> awaited(Directory, ?TRIES);
        {error, {already_started, _}} -> awaited(Directory, ?TRIES);
        {error, already_present} -> _ = supervisor:delete_child(py_sup, ?MODULE), start(Directory);
        {error, {{shutdown, {failed_to_start_child, _, {py, _} = Reason}}, _}} -> {error, Reason};
        {error, {shutdown, {failed_to_start_child, _, {py, _} = Reason}}} -> {error, Reason};
        {error, Reason} -> failed(Directory, Reason)
    catch
        exit:_ -> {error, {py, not_started}}
    end.

failed(Directory, Reason) -> {error, {py, {state_dir, py_store:text(Directory), lists:flatten(io_lib:format("~tP", [Reason, 20]))}}}.

%% It answers when it has read what there is; it may be between two lives.
awaited(Directory, 0) ->
    failed(Directory, "the server of runs does not come up; the log says why");
awaited(Directory, Left) ->
    try gen_server:call(py_runs, info, infinity) of
        _ -> ok
    catch
        exit:_ ->
            receive after ?PAUSE_MS -> ok end,
            case whereis(?MODULE) of
                undefined -> failed(Directory, "the server of runs does not come up; the log says why");
                _ -> awaited(Directory, Left - 1)
            end
    end.

-spec init(file:filename_all()) -> {ok, {supervisor:sup_flags(), [supervisor:child_spec()]}}.
init(Directory) ->
    py_run_attempt:new(),
    py_run_table:new(),
    py_entities:new(),
    py_env_pools:new(),
    %% The server first: it has the directory's lock.
    {ok, {#{strategy => one_for_one, intensity => 5, period => 10}, [
        #{id => py_runs, start => {py_runs, start_link, [Directory]}, shutdown => 10_000},
        #{id => py_entities, start => {py_entities, start_link, [Directory]}},
        #{id => py_envs, start => {py_envs, start_link, [Directory]}}
    ]}}.
