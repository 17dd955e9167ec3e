%%% @doc Which worker: the choice, made by the caller, and the process that starts a pool's workers.
%%%
%%% A choice asks no process. The caller reads the counters in the pool's `atomics' array, takes the slot with the
%%% smallest and adds one; the worker process writes the true number when it has the call, and when it answers. So a
%%% caller that dies in between leaves nothing behind.
-module(py_pool).
-behaviour(gen_server).

-export([pick/2]).
-export([start_link/2]).
-export([init/1, handle_call/3, handle_cast/2, handle_info/2]).

%% @doc The worker that gets the next call. Where no worker of the pool can serve, one that will soon: it keeps the
%% call until then.
-spec pick(py_config:pool_name(), py_table:pool()) -> {ok, pid()} | {error, {worker_down, restarting}}.
pick(Name, #{load := Load, size := Size, scheduler := Scheduler}) ->
    Slot = choose(Scheduler, Load, Size),
    atomics:add(Load, Slot, 1),
    case py_table:worker(Name, Slot) of
        {ok, Pid} -> {ok, Pid};
        error -> {error, {worker_down, restarting}}
    end.

choose(least_busy, Load, Size) ->
    least_busy(Load, Size, 1, 1, atomics:get(Load, 1));
choose(random, Load, Size) ->
    first_serving(Load, Size, rand:uniform(Size), Size);
choose(round_robin, Load, Size) ->
    Turn = atomics:add_get(Load, py_config:max_workers() + 1, 1),
    first_serving(Load, Size, 1 + Turn rem Size, Size).

least_busy(_Load, _Size, _Slot, Best, 0) ->
    Best;
least_busy(Load, Size, Slot, Best, Least) when Slot < Size ->
    case atomics:get(Load, Slot + 1) of
        Less when Less < Least -> least_busy(Load, Size, Slot + 1, Slot + 1, Less);
        _ -> least_busy(Load, Size, Slot + 1, Best, Least)
    end;
least_busy(_Load, _Size, _Slot, Best, _Least) ->
    Best.

%% The slot itself when none serves.
first_serving(_Load, _Size, Slot, 0) ->
    Slot;
first_serving(Load, Size, Slot, Left) ->
    case py_table:is_serving(Load, Slot) of
        true -> Slot;
        false -> first_serving(Load, Size, 1 + Slot rem Size, Left - 1)
    end.

%%% The process

%% @doc Start the workers of a pool; returns when all of them serve, or with the first one's reason.
-spec start_link(py_config:pool_name(), py_config:pool()) -> gen_server:start_ret().
start_link(Name, Config) -> gen_server:start_link(?MODULE, {Name, Config}, []).

-spec init({py_config:pool_name(), py_config:pool()}) -> {ok, py_config:pool_name()} | {stop, term()}.
init({Name, Config}) ->
    #{size := Size, scheduler := Scheduler, call_timeout := Timeout} = Config,
    Load = atomics:new(py_config:max_workers() + 1, [{signed, true}]),
    Slots = lists:seq(1, Size),
    [py_table:report_load(Load, Slot, 0, false) || Slot <- Slots],
    Sup = py_table:worker_sup(Name),
    Workers = [start_worker(Sup, Name, Slot, Load, Config) || Slot <- Slots],
    %% A pool that has been there before is there again, whatever its workers say: they go on trying, and their calls
    %% tell why. Failing here would take the other pools along in the end.
    case lists:keymember(Name, 1, py_table:configs()) orelse await(Workers) of
        Started when Started =:= ok; Started =:= true ->
            Mapping = py_term:mapping(Config),
            py_table:put_pool(Name, #{
                load => Load, size => Size, scheduler => Scheduler, timeout => Timeout, mapping => Mapping
            }),
            {ok, Name};
        {error, Reason} ->
            {stop, {shutdown, Reason}}
    end.

start_worker(Sup, Name, Slot, Load, Config) ->
    {ok, Pid} = py_worker_sup:start_worker(Sup, [Name, Slot, Load, Config]),
    Pid.

%% All of them start at the same time; each reports once, within its `start_timeout'.
await(Workers) ->
    lists:foldl(
        fun
            (Worker, ok) -> py_worker:await_start(Worker);
            (_, Error) -> Error
        end,
        ok,
        Workers
    ).

-spec handle_call(term(), gen_server:from(), State) -> {reply, {error, unknown_request}, State}.
handle_call(_Request, _From, State) -> {reply, {error, unknown_request}, State}.

-spec handle_cast(term(), State) -> {noreply, State}.
handle_cast(_Message, State) -> {noreply, State}.

-spec handle_info(term(), State) -> {noreply, State}.
handle_info(_Message, State) -> {noreply, State}.
