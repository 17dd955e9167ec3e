%%% @doc The pools of environments: which there are, under names that are a few and always the same, since atoms stay.
%%%
%%% The table outlives the server that fills it ({@link py_envs}); the server of runs reads it.
%%% @private
-module(py_env_pools).

-export([new/0, name/1, names/1, put/3, open/1, close/1, delete/1, all/0, start/3, stop/1]).

-define(TABLE, ?MODULE).

%% @doc Make the table; it belongs to the calling process.
-spec new() -> ok.
new() ->
    ?TABLE = ets:new(?TABLE, [named_table, public, set]),
    ok.

%% @doc The pool of an environment that runs may go to now.
-spec name(Pool :: binary()) -> {ok, py_config:pool_name()} | error.
name(Pool) ->
    try ets:lookup(?TABLE, Pool) of
        [{_, Name, _Key, true}] -> {ok, Name};
        _ -> error
    catch
        error:badarg -> error
    end.

%% @doc What such pools are called.
-spec names(pos_integer()) -> [py_config:pool_name()].
names(Most) -> [list_to_atom("py_env_" ++ integer_to_list(Number)) || Number <- lists:seq(1, Most)].

%% @doc One that is being started: nothing goes there before {@link open/1}.
-spec put(Pool :: binary(), py_config:pool_name(), Key :: binary()) -> ok.
put(Pool, Name, Key) ->
    true = ets:insert(?TABLE, {Pool, Name, Key, false}),
    ok.

-spec open(Pool :: binary()) -> ok.
open(Pool) ->
    _ = ets:update_element(?TABLE, Pool, {4, true}),
    ok.

%% @doc Nothing goes there any more.
-spec close(Pool :: binary()) -> ok.
close(Pool) ->
    _ = ets:update_element(?TABLE, Pool, {4, false}),
    ok.

-spec delete(Pool :: binary()) -> ok.
delete(Pool) ->
    true = ets:delete(?TABLE, Pool),
    ok.

-spec all() -> [{Pool :: binary(), py_config:pool_name(), Key :: binary(), IsOpen :: boolean()}].
all() -> ets:tab2list(?TABLE).

%% @doc Start a pool with the interpreter of an environment.
-spec start(py_config:pool_name(), Venv :: file:filename_all(), Options :: map()) -> ok | {error, {py, py_error:reason()}}.
start(Name, Venv, Options) ->
    case py_pool_options:check(maps:merge(#{size => 2}, Options#{python => {venv, Venv}})) of
        {ok, Config} -> started(Name, Config);
        {error, Problem} -> {error, {py, {bad_config, Name, Problem}}}
    end.

started(Name, Config) ->
    case py_pools_sup:start_pool(Name, Config) of
        {ok, _} -> ok;
        %% Of a server that was killed while it had this one started.
        {error, {py, {already_started, _}}} -> stop(Name), started(Name, Config);
        {error, _} = Error -> Error
    end.

-spec stop(py_config:pool_name()) -> ok.
stop(Name) ->
    _ = py_pools_sup:stop_pool(Name, default),
    ok.
