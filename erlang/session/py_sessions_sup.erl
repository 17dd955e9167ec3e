%%% @doc Holds the sessions, and the process that knows which worker is whose.
%%%
%%% `one_for_all': without that process no session knows a worker, and no worker is given back.
%%% @private
-module(py_sessions_sup).
-behaviour(supervisor).

-export([start_link/0]).
-export([init/1]).

-spec start_link() -> supervisor:startlink_ret().
start_link() -> supervisor:start_link(?MODULE, []).

-spec init([]) -> {ok, {supervisor:sup_flags(), [supervisor:child_spec()]}}.
init([]) ->
    Workers = #{id => py_sessions, start => {py_sessions, start_link, []}},
    Sessions = #{id => py_session_sup, start => {py_session_sup, start_link, []}, type => supervisor},
    {ok, {#{strategy => one_for_all, intensity => 10, period => 10}, [Workers, Sessions]}}.
