%%% @doc Keeps the process that has the zygotes: its end is nobody else's.
%%% @private
-module(py_zygote_sup).
-behaviour(supervisor).

-export([start_link/0]).
-export([init/1]).

-spec start_link() -> supervisor:startlink_ret().
start_link() ->
    py_predecessor:await_end(?MODULE),
    supervisor:start_link({local, ?MODULE}, ?MODULE, []).

-spec init([]) -> {ok, {supervisor:sup_flags(), [supervisor:child_spec()]}}.
init([]) -> {ok, {#{strategy => one_for_one, intensity => 10, period => 10}, [#{id => py_zygote, start => {py_zygote, start_link, []}}]}}.
