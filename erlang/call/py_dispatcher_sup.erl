%%% @doc The dispatchers of pools that have any. One that dies is started again with the next task.
%%% @private
-module(py_dispatcher_sup).
-behaviour(supervisor).

-export([start_link/0, start/1, init/1]).

-spec start_link() -> supervisor:startlink_ret().
start_link() ->
    py_predecessor:await_end(?MODULE),
    supervisor:start_link({local, ?MODULE}, ?MODULE, []).

-spec start(py_config:pool_name()) -> {ok, pid()} | {error, term()}.
start(Pool) ->
    try supervisor:start_child(?MODULE, [Pool]) of
        {ok, Pid} -> {ok, Pid};
        {error, _} = Error -> Error
    catch
        exit:_ -> {error, not_started}
    end.

-spec init([]) -> {ok, {supervisor:sup_flags(), [supervisor:child_spec()]}}.
init([]) ->
    Dispatcher = #{id => py_dispatcher_server, start => {py_dispatcher_server, start_link, []}, restart => temporary},
    {ok, {#{strategy => simple_one_for_one}, [Dispatcher]}}.
