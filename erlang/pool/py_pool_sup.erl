%%% @doc One pool: its workers, then the process that looks after them.
%%%
%%% `one_for_all': the pool process counts on the workers it started, and a new one starts its own.
%%% @private
-module(py_pool_sup).
-behaviour(supervisor).

-export([start_link/2]).
-export([init/1]).

-spec start_link(py_config:pool_name(), py_config:pool()) -> supervisor:startlink_ret().
start_link(Name, Config) -> supervisor:start_link(?MODULE, {Name, Config}).

-spec init({py_config:pool_name(), py_config:pool()}) -> {ok, {supervisor:sup_flags(), [supervisor:child_spec()]}}.
init({Name, Config}) ->
    Workers = #{id => py_worker_sup, start => {py_worker_sup, start_link, [Name]}, type => supervisor},
    Pool = #{id => py_pool, start => {py_pool, start_link, [Name, Config]}},
    {ok, {#{strategy => one_for_all, intensity => 10, period => 10}, [Workers, Pool]}}.
