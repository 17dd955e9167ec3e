%%% @doc The sessions. One that ends is not started again: its namespace is gone, and its owner knows.
%%% @private
-module(py_session_sup).
-behaviour(supervisor).

-export([start_link/0, start_session/1, sessions/0]).
-export([init/1]).

-spec start_link() -> supervisor:startlink_ret().
start_link() ->
    py_predecessor:await_end(?MODULE),
    supervisor:start_link({local, ?MODULE}, ?MODULE, []).

%% @doc Start a session with this argument (see `py_session_server:start_link/1').
-spec start_session(term()) -> {ok, pid()} | {error, not_started}.
start_session(Argument) ->
    try
        {ok, _} = supervisor:start_child(?MODULE, [Argument])
    catch
        exit:_ -> {error, not_started}
    end.

%% @doc The processes of all sessions.
-spec sessions() -> [pid()].
sessions() ->
    try
        [Pid || {_, Pid, _, _} <- supervisor:which_children(?MODULE), is_pid(Pid)]
    catch
        exit:_ -> []
    end.

-spec init([]) -> {ok, {supervisor:sup_flags(), [supervisor:child_spec()]}}.
init([]) ->
    Session = #{id => py_session, start => {py_session_server, start_link, []}, restart => temporary, shutdown => 5_000},
    {ok, {#{strategy => simple_one_for_one, intensity => 0, period => 1}, [Session]}}.
