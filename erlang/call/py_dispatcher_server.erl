%%% @doc A pool's dispatcher: has the tasks of all clients that no worker has yet, and gives each worker a few.
%%%
%%% {@link py_dispatch} decides which; here are the messages, the clocks and the workers' answers. A task is a call of this process's: it
%%% is cancelled by its worker when this process dies, and here when its client does. It is started with the first task of its pool, and
%%% ends with the pool.
%%% @private
-module(py_dispatcher_server).
-behaviour(gen_server).

-export([find/1, task/6, tasks/3, cancel/2, drop/2, hold/1, go_on/1]).
-export([start_link/1, init/1, handle_call/3, handle_cast/2, handle_info/2]).
-export_type([several/0]).

-type several() :: {Id :: reference(), py_wire:body(), py_deadline:deadline()}.
%% One of several tasks.

-record(task, {
    client :: pid(),
    body :: py_wire:body(),
    owner :: py_owners:owner(),
    leader :: pid(),
    timer = none :: none | reference(),
    at = none :: none | {Worker :: pid(), Alias :: reference()}
}).
-record(state, {
    pool :: py_config:pool_name(),
    watched :: reference(),
    core = py_dispatch:new() :: py_dispatch:dispatch(),
    tasks = #{} :: #{reference() => #task{}},
    aliases = #{} :: #{reference() => Id :: reference()},
    clients = #{} :: #{pid() => Monitor :: reference()},
    retry = none :: none | reference(),
    %% Since when no worker serves, in microseconds.
    nobody_since = never :: never | integer()
}).

-define(RETRY_MS, 20).
%% A worker whose Pythons die again and again waits for the next one for `max_delay', 30 s, and starts it: what has not begun waits so long.
-define(PATIENCE_US, 45_000_000).
-define(DROPPED, [{async, true}, {info, false}]).

%%% For clients

%% @doc The dispatcher of a pool, and the timeout of its calls.
-spec find(py_config:pool_name()) -> {ok, pid(), timeout()} | {error, py_error:reason()}.
find(Pool) ->
    case py_registry:pool(Pool) of
        {ok, #{timeout := Timeout}} ->
            case py_registry:dispatcher(Pool) of
                {ok, Dispatcher} -> {ok, Dispatcher, Timeout};
                error -> started(py_dispatcher_sup:start(Pool), Pool, Timeout)
            end;
        {error, _} = Error ->
            Error
    end.

started({ok, Dispatcher}, _Pool, Timeout) when is_pid(Dispatcher) -> {ok, Dispatcher, Timeout};
started({error, {already_started, Dispatcher}}, _Pool, Timeout) -> {ok, Dispatcher, Timeout};
started({error, not_started}, _Pool, _Timeout) -> {error, not_started};
started(_Failed, Pool, _Timeout) -> {error, {unknown_pool, Pool}}.

%% @doc A task of the calling process's, with an id of its own; with it at most so many may be open. What it comes to is `{Id, Answer}'.
-spec task(pid(), Id :: reference(), py_wire:body(), py_deadline:deadline(), py_owners:owner(), MostOpen :: pos_integer() | infinity) -> ok.
task(Dispatcher, Id, Body, Deadline, Owner, Most) ->
    gen_server:cast(Dispatcher, {task, self(), Id, Body, Deadline, Owner, group_leader(), Most}).

%% @doc The same with several that the calling process owns, in order.
-spec tasks(pid(), [several(), ...], MostOpen :: pos_integer() | infinity) -> ok.
tasks(Dispatcher, Some, Most) -> gen_server:cast(Dispatcher, {tasks, self(), group_leader(), Some, Most}).

-spec cancel(pid(), Id :: reference()) -> ok.
cancel(Dispatcher, Id) -> gen_server:cast(Dispatcher, {cancel, Id}).

%% @doc Answered with `{Id, dropped}' or `{Id, begun}', or by the task's own answer, if that was on its way.
-spec drop(pid(), Id :: reference()) -> ok.
drop(Dispatcher, Id) -> gen_server:cast(Dispatcher, {drop, Id}).

-spec hold(pid()) -> ok.
hold(Dispatcher) -> gen_server:cast(Dispatcher, {hold, self()}).

-spec go_on(pid()) -> ok.
go_on(Dispatcher) -> gen_server:cast(Dispatcher, {go_on, self()}).

%%% The process

-spec start_link(py_config:pool_name()) -> gen_server:start_ret().
start_link(Pool) -> gen_server:start_link(?MODULE, Pool, []).

-spec init(py_config:pool_name()) -> {ok, #state{}} | {stop, {already_started, pid()} | unknown_pool}.
init(Pool) ->
    case py_registry:pool_process(Pool) of
        {ok, Process} ->
            case py_registry:put_dispatcher(Pool, self()) of
                true -> {ok, #state{pool = Pool, watched = monitor(process, Process)}};
                {taken, Other} -> {stop, {already_started, Other}}
            end;
        error ->
            {stop, unknown_pool}
    end.

-spec handle_call(term(), gen_server:from(), #state{}) -> {reply, {error, unknown_request}, #state{}}.
handle_call(_Request, _From, State) -> {reply, {error, unknown_request}, State}.

-spec handle_cast(term(), #state{}) -> {noreply, #state{}}.
handle_cast({task, Client, Id, Body, Deadline, Owner, Leader, Most}, State) ->
    {Ids, Queued} = queued({Id, Body, Deadline}, Most, #task{client = Client, body = Body, owner = Owner, leader = Leader}, {[], State}),
    {noreply, taken(Ids, watched(Client, Queued))};
handle_cast({tasks, Client, Leader, Some, Most}, State) ->
    Task = #task{client = Client, body = [], owner = Client, leader = Leader},
    {Ids, Queued} = lists:foldl(fun(Each, Acc) -> queued(Each, Most, Task, Acc) end, {[], State}, Some),
    {noreply, taken(Ids, watched(Client, Queued))};
handle_cast({cancel, Id}, State) ->
    {noreply, dispatched(given_up(Id, cancelled, State))};
handle_cast({drop, Id}, #state{core = Core, tasks = Tasks} = State) ->
    case py_dispatch:task(Id, Core) of
        {ok, {Client, queued}} ->
            Client ! {Id, dropped},
            {noreply, over(Id, unknown, State)};
        {ok, {Client, _}} ->
            #{Id := #task{client = Client}} = Tasks,
            Client ! {Id, begun},
            {noreply, State};
        error ->
            {noreply, State}
    end;
handle_cast({hold, Client}, #state{core = Core} = State) ->
    {noreply, (watched(Client, State))#state{core = py_dispatch:hold(Client, Core)}};
handle_cast({go_on, Client}, #state{core = Core} = State) ->
    {noreply, dispatched(State#state{core = py_dispatch:go_on(Client, Core)})};
handle_cast(_Message, State) ->
    {noreply, State}.

queued({Id, _Body, _Deadline}, Most, #task{client = Client}, {Ids, #state{tasks = Tasks, pool = Pool} = State}) when
    map_size(Tasks) >= Most
->
    py_events:emit([queue, full], #{waiting => map_size(Tasks)}, #{pool => Pool}),
    Client ! {Id, {error, {py, overload}}},
    {Ids, counted(overload, State)};
queued({Id, Body, Deadline}, _Most, #task{client = Client} = Task, {Ids, #state{core = Core, tasks = Tasks} = State}) ->
    Known = Tasks#{Id => Task#task{body = Body, timer = timer(Id, Deadline)}},
    {[Id | Ids], State#state{core = py_dispatch:queued(Id, Client, Core), tasks = Known}}.

%% The last ones first: they would have been too many.
taken([], State) -> State;
taken(Ids, State) -> lists:foldl(fun bounded/2, dispatched(State), Ids).

timer(_Id, infinity) -> none;
timer(Id, Deadline) -> erlang:start_timer(Deadline, self(), {late, Id}, [{abs, true}]).

watched(Client, #state{clients = Clients} = State) when is_map_key(Client, Clients) -> State;
watched(Client, #state{clients = Clients} = State) -> State#state{clients = Clients#{Client => monitor(process, Client)}}.

-spec handle_info(term(), #state{}) -> {noreply, #state{}} | {stop, normal, #state{}}.
handle_info({Alias, _} = Message, #state{aliases = Aliases} = State) when is_map_key(Alias, Aliases) ->
    #{Alias := Id} = Aliases,
    {noreply, answered(Message, Id, State)};
handle_info({'DOWN', Alias, process, _, _} = Message, #state{aliases = Aliases} = State) when is_map_key(Alias, Aliases) ->
    #{Alias := Id} = Aliases,
    {noreply, answered(Message, Id, State)};
handle_info({'DOWN', Monitor, process, Client, _}, #state{clients = Clients, core = Core} = State) when
    map_get(Client, Clients) =:= Monitor
->
    {Some, _} = py_dispatch:gone(Client, Core),
    Left = lists:foldl(fun({Id, _}, Acc) -> given_up(Id, cancelled, Acc) end, State#state{clients = maps:remove(Client, Clients)}, Some),
    {_, Gone} = py_dispatch:gone(Client, Left#state.core),
    {noreply, dispatched(Left#state{core = Gone})};
handle_info({'DOWN', Monitor, process, _, _}, #state{watched = Monitor} = State) ->
    %% It may be started again by its supervisor.
    pool_looked_at(State);
handle_info({timeout, Timer, {late, Id}}, #state{tasks = Tasks} = State) ->
    case Tasks of
        #{Id := #task{timer = Timer, client = Client}} ->
            Client ! {Id, {error, {py, timeout}}},
            {noreply, dispatched(given_up(Id, timeout, State))};
        #{} ->
            {noreply, State}
    end;
handle_info({timeout, Timer, retry}, #state{retry = Timer} = State) ->
    {noreply, dispatched(State#state{retry = none})};
handle_info({timeout, _, pool}, State) ->
    pool_looked_at(State);
handle_info(_Message, State) ->
    {noreply, State}.

pool_looked_at(#state{pool = Pool, tasks = Tasks} = State) ->
    case {py_registry:pool(Pool), py_registry:pool_process(Pool)} of
        {{ok, _}, {ok, Process}} ->
            case is_process_alive(Process) of
                true -> {noreply, dispatched(State#state{watched = monitor(process, Process)})};
                false -> pool_looked_at_later(State)
            end;
        {{ok, _}, error} ->
            pool_looked_at_later(State);
        {{error, _}, _} when map_size(Tasks) =:= 0 ->
            py_registry:delete_dispatcher(Pool, self()),
            {stop, normal, State};
        %% Workers answer what they have.
        {{error, _}, _} ->
            pool_looked_at_later(dispatched(State))
    end.

pool_looked_at_later(State) ->
    _ = erlang:start_timer(?RETRY_MS, self(), pool),
    {noreply, State}.

%%% Answers

answered(Message, Id, #state{tasks = Tasks, core = Core} = State) ->
    #{Id := #task{client = Client, at = {Worker, Alias}}} = Tasks,
    Now = now_us(),
    case py_send:answer(Message, Worker) of
        {frame, Frame, Trust, Worker} ->
            Client ! {Id, {frame, Frame, Trust, {Worker, Alias}}},
            dispatched(over(Id, Now, State));
        %% Its queue is full of the calls of others.
        {error, {py, overload}} ->
            retry(?RETRY_MS, back(Id, State#state{core = py_dispatch:back(Id, Now, Core)}));
        {error, _} = Error ->
            Client ! {Id, Error},
            dispatched(over(Id, Now, State));
        moved ->
            py_events:emit([call, retry], #{}, #{pool => State#state.pool}),
            dispatched(back(Id, State#state{core = py_dispatch:back(Id, Now, Core)}));
        {gone, Ms} ->
            retry(Ms, back(Id, State#state{core = py_dispatch:back(Id, Now, Core)}))
    end.

back(Id, #state{tasks = Tasks, aliases = Aliases} = State) ->
    #{Id := #task{at = {_, Alias}} = Task} = Tasks,
    State#state{tasks = Tasks#{Id := Task#task{at = none}}, aliases = maps:remove(Alias, Aliases)}.

over(Id, Now, #state{tasks = Tasks, aliases = Aliases, core = Core} = State) ->
    {#task{timer = Timer, at = At}, Left} = maps:take(Id, Tasks),
    Timer =:= none orelse erlang:cancel_timer(Timer, ?DROPPED),
    Known =
        case At of
            {_, Alias} -> maps:remove(Alias, Aliases);
            none -> Aliases
        end,
    State#state{tasks = Left, aliases = Known, core = py_dispatch:over(Id, Now, Core)}.

%% Nobody wants it any more.
given_up(Id, Why, #state{tasks = Tasks} = State) ->
    case Tasks of
        #{Id := #task{at = {Worker, Alias}}} ->
            py_send:cancel(Worker, Alias, Why),
            over(Id, unknown, State);
        #{Id := _} ->
            over(Id, unknown, counted(Why, State));
        #{} ->
            State
    end.

%% No worker has seen it: among the figures of the pool it is the first one's.
counted(Why, #state{pool = Pool} = State) ->
    py_figures:count(Why, 1, py_registry:figures(Pool, 1)),
    State.

retry(Ms, #state{retry = none} = State) -> State#state{retry = erlang:start_timer(Ms, self(), retry)};
retry(_Ms, State) -> State.

now_us() -> erlang:monotonic_time(microsecond).

%%% To workers

dispatched(#state{core = Core, pool = Pool} = State) ->
    case py_dispatch:waiting(Core) > 0 andalso py_registry:pool(Pool) of
        false ->
            State;
        {ok, #{load := Load, hand := Hand} = Known} ->
            case slots(Known, Pool) of
                {error, Reason} -> failed(Reason, State);
                nobody -> nobody(Known, now_us(), State);
                Slots -> dispatched(Slots, Load, {Hand, now_us()}, State#state{nobody_since = never})
            end;
        {error, Reason} ->
            failed(Reason, State)
    end.

%% No worker serves. A call would fail, or wait in one; a task waits here, for whichever comes first.
nobody(_Known, Now, #state{nobody_since = never} = State) ->
    retry(?RETRY_MS, State#state{nobody_since = Now});
nobody(_Known, Now, #state{nobody_since = Since} = State) when Now - Since < ?PATIENCE_US ->
    retry(?RETRY_MS, State);
nobody(#{load := Load, hand := Hand} = Known, Now, #state{pool = Pool} = State) ->
    case picked(Pool, Known) of
        {error, Reason} -> failed(Reason, State);
        Slots -> dispatched(Slots, Load, {Hand, Now}, State)
    end.

dispatched(Slots, Load, {Hand, Now} = Room, #state{pool = Pool, core = Core} = State) ->
    case py_dispatch:next(Slots, Hand, Now, Core) of
        {none, Same} ->
            %% A worker that comes tells nobody.
            retry(?RETRY_MS, State#state{core = Same});
        {Id, Slot, Next} ->
            case py_registry:worker(Pool, Slot) of
                {ok, Worker} ->
                    _ = py_registry:take(Load, Slot),
                    More = lists:keyreplace(Slot, 1, Slots, {Slot, py_registry:in_hand(Load, Slot)}),
                    go_on(More, Load, Room, asked(Id, Worker, State#state{core = Next}));
                error ->
                    dispatched(lists:keydelete(Slot, 1, Slots), Load, Room, State#state{core = py_dispatch:back(Id, Now, Next)})
            end
    end.

go_on(Slots, Load, Room, #state{core = Core} = State) ->
    case py_dispatch:waiting(Core) of
        0 -> State;
        _ -> dispatched(Slots, Load, Room, State)
    end.

asked(Id, Worker, #state{tasks = Tasks, aliases = Aliases} = State) ->
    #{Id := #task{body = Body, owner = Owner, leader = Leader} = Task} = Tasks,
    Alias = py_worker:ask(free, Worker, Body, Owner, Leader),
    State#state{tasks = Tasks#{Id := Task#task{at = {Worker, Alias}}}, aliases = Aliases#{Alias => Id}}.

%% The workers that may have a task, with what they have in hand.
slots(#{load := Load, size := Size, scheduler := Scheduler} = Known, _Pool) when
    Scheduler =:= least_busy; Scheduler =:= random; Scheduler =:= round_robin
->
    case [{Slot, py_registry:in_hand(Load, Slot)} || Slot <- lists:seq(1, Size), py_registry:is_serving(Load, Slot)] of
        [] -> nobody;
        %% As many as a worker would take.
        Slots -> [Taker || {_, InHand} = Taker <- Slots, InHand =< maps:get(max_queue, Known)]
    end;
slots(Known, Pool) ->
    picked(Pool, Known).

picked(Pool, #{load := Load} = Known) ->
    case py_scheduler:pick(Pool, Known) of
        {ok, Worker} ->
            case py_registry:place(Worker) of
                {ok, {Pool, Slot}} ->
                    %% It is counted when a task goes there.
                    py_registry:give_back(Load, Slot),
                    [{Slot, py_registry:in_hand(Load, Slot)}];
                _ ->
                    []
            end;
        {error, overload} ->
            [];
        {error, _} = Error ->
            Error
    end.

failed(Reason, #state{core = Core} = State) ->
    lists:foldl(fun(Id, Acc) -> answered_with({error, {py, Reason}}, Id, Acc) end, State, py_dispatch:waiting_tasks(Core)).

answered_with(Answer, Id, #state{tasks = Tasks} = State) ->
    #{Id := #task{client = Client}} = Tasks,
    Client ! {Id, Answer},
    over(Id, unknown, State).

%% As many wait here as would in the queues of the workers.
bounded(Id, #state{core = Core, pool = Pool} = State) ->
    case py_dispatch:waiting(Core) > 0 andalso py_dispatch:task(Id, Core) of
        {ok, {_, queued}} ->
            case py_registry:pool(Pool) of
                {ok, #{max_queue := Most, size := Size}} when is_integer(Most) ->
                    case py_dispatch:waiting(Core) > Most * Size of
                        true ->
                            py_events:emit([queue, full], #{waiting => py_dispatch:waiting(Core)}, #{pool => Pool}),
                            answered_with({error, {py, overload}}, Id, counted(overload, State));
                        false ->
                            State
                    end;
                _ ->
                    State
            end;
        _ ->
            State
    end.
