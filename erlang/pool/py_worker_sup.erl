%%% @doc The workers of one pool. They are ended all at once (`simple_one_for_one'), so stopping a pool takes as
%%% long as its slowest worker.
%%%
%%% A Python that dies is replaced by its worker process, with the budget that the pool's `restart' option sets; this
%%% supervisor sees only worker processes that die themselves, which is a fault of this application or an
%%% `exit(Pid, kill)': hence the high intensity. A worker that it starts again and that nobody wants any more leaves by
%%% itself: hence `transient'.
%%% @private
-module(py_worker_sup).
-behaviour(supervisor).

-export([start_link/1, start_worker/2, stop_worker/2]).
-export([init/1]).

-spec start_link(py_config:pool_name()) -> supervisor:startlink_ret().
start_link(Pool) -> supervisor:start_link(?MODULE, Pool).

%% @doc Start a worker with these arguments (see `py_worker:start_link/5').
-spec start_worker(pid(), [term()]) -> supervisor:startchild_ret().
start_worker(Sup, Args) -> supervisor:start_child(Sup, Args).

%% @doc Stop a worker for good; returns when it is gone.
-spec stop_worker(pid(), pid()) -> ok.
stop_worker(Sup, Worker) ->
    _ = supervisor:terminate_child(Sup, Worker),
    ok.

-spec init(py_config:pool_name()) -> {ok, {supervisor:sup_flags(), [supervisor:child_spec()]}}.
init(Pool) ->
    py_registry:put_worker_sup(Pool, self()),
    Worker = #{id => py_worker, start => {py_worker, start_link, []}, restart => transient, shutdown => 10_000},
    {ok, {#{strategy => simple_one_for_one, intensity => 1_000, period => 10}, [Worker]}}.
