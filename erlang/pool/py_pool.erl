%%% @doc The process that looks after a pool's workers: starts them, and changes how many there are.
%%%
%%% No call passes through it: a caller chooses a worker by itself, see {@link py_scheduler}. What takes long (a worker that
%%% starts, or ends its calls) is waited for by a process of its own, which answers whoever has asked.
%%% @private
-module(py_pool).
-behaviour(gen_server).

-export([start_link/2, resize/2, add_worker/1, remove_worker/2, lease/2, give_back/2]).
-export([init/1, handle_call/3, handle_cast/2, handle_info/2]).
-export_type([lease/0]).

-record(state, {
    name :: py_config:pool_name(),
    config :: py_config:pool(),
    load :: py_registry:load(),
    %% Those with a worker that is not being taken away, and those with one that is.
    slots :: [py_registry:slot()],
    leaving = [] :: [py_registry:slot()]
}).

%% So many workers may end their calls while others have taken their places already; then the next one waits for its own end.
-define(MOST_LEAVING, 16).

-type failure() :: {py, term()}.
-type lease() :: {py_registry:slot(), py_registry:ticket()}.
%% A worker that was started for somebody, through all of its processes.

%% @doc Start the workers of a pool; returns when all of them serve, or with the first one's reason.
-spec start_link(py_config:pool_name(), py_config:pool()) -> gen_server:start_ret().
start_link(Name, Config) -> gen_server:start_link(?MODULE, {Name, Config}, []).

%% @doc Have this many workers; returns when the new ones serve and the others are gone.
-spec resize(py_config:pool_name(), pos_integer()) -> ok | {error, failure()}.
resize(Name, Size) -> ask(Name, {resize, Size}).

%% @doc One more worker; returns when it serves.
-spec add_worker(py_config:pool_name()) -> {ok, pid()} | {error, failure()}.
add_worker(Name) -> ask(Name, add_worker).

%% @doc Take this worker away, after its open calls.
-spec remove_worker(py_config:pool_name(), pid()) -> ok | {error, failure()}.
remove_worker(Name, Worker) -> ask(Name, {remove_worker, Worker}).

%% @doc One more worker, with options of its own; returns when it serves. For a pool of the size 0, whose workers all are
%% somebody's.
-spec lease(py_config:pool_name(), py_config:pool()) -> {ok, lease()} | {error, failure()}.
lease(Name, Config) -> ask(Name, {lease, Config}).

%% @doc Take such a worker away, whatever it does; returns when it is gone. One that is gone already is no error.
-spec give_back(py_config:pool_name(), lease()) -> ok | {error, failure()}.
give_back(Name, Lease) -> ask(Name, {give_back, Lease}).

ask(Name, Request) ->
    case py_registry:pool_process(Name) of
        {ok, Pool} ->
            try
                gen_server:call(Pool, Request, infinity)
            catch
                exit:_ -> {error, {py, {worker_down, restarting}}}
            end;
        error ->
            {error, {py, {unknown_pool, Name}}}
    end.

-spec init({py_config:pool_name(), py_config:pool()}) -> {ok, #state{}} | ignore.
init({Name, First}) ->
    py_registry:put_pool_process(Name, self()),
    %% A pool that has been there before has the size that it had last.
    #{size := Size} = Config = proplists:get_value(Name, py_registry:configs(), First),
    %% Whoever had a worker of a predecessor's has none now.
    py_registry:close_slots(Name),
    State = #state{name = Name, config = Config, load = py_registry:new_load(), slots = lists:seq(1, Size)},
    Workers = [start_worker(Slot, Config, State) || Slot <- State#state.slots],
    %% A pool that has been there before is there again, whatever its workers say: they go on trying, and their calls
    %% tell why. Failing here would take the other pools along in the end.
    case lists:keymember(Name, 1, py_registry:configs()) orelse await(Workers) of
        Started when Started =:= ok; Started =:= true ->
            Published = published(State),
            %% Workers that all are somebody's are nothing to other nodes.
            Size > 0 andalso py_nodes:join(Name),
            {ok, Published};
        {error, Reason} ->
            %% Who starts the pool tells it. To its supervisors it would be a failure of theirs, and two pages of reports.
            py_registry:put_failure(Name, Reason),
            ignore
    end.

published(#state{name = Name, config = Config, load = Load, slots = Slots, leaving = Leaving} = State) ->
    #{scheduler := Scheduler, call_timeout := Timeout, show_arguments := Shown, style := Style} = Config,
    py_registry:put_pool(Name, #{
        load => Load,
        size => lists:max([1 | Slots ++ Leaving]),
        scheduler => Scheduler,
        timeout => Timeout,
        max_queue => py_scheduler:most_behind_one(Config),
        hand => py_scheduler:hand(Config),
        few => py_scheduler:few(Config, length(Slots)),
        show_arguments => Shown,
        style => Style,
        mapping => py_mapping:of_pool(Config),
        flags => py_mapping:flags(Config)
    }),
    %% What starts this pool again starts it in its present size; one whose workers are others' to want, with none.
    _ = [
        py_registry:put_config(Name, Config#{size := length(Slots)})
     || maps:get(size, Config) > 0, lists:keymember(Name, 1, py_registry:configs())
    ],
    maps:get(size, Config) > 0 andalso py_nodes:weigh(Name, length(Slots)),
    State.

%% The slot is none for callers until its worker says so: the supervisor may be busy with one that leaves.
start_worker(Slot, Config, #state{name = Name, load = Load}) ->
    Ticket = py_registry:open_slot(Name, Slot),
    %% The supervisor starts the next process of this worker with the same arguments.
    Own = Config#{atoms => py_guard:budget(Name, Config)},
    {ok, Pid} = py_worker_sup:start_worker(py_registry:worker_sup(Name), [Name, Slot, Ticket, Load, Own]),
    {Slot, Ticket, Pid}.

%% All of them start at the same time; each reports once, within its `start_timeout'. All are asked before the first has
%% answered: one that nobody asks says in the log why it does not start.
await(Workers) ->
    Requests = [py_worker:ask_start(Worker) || {_Slot, _Ticket, Worker} <- Workers],
    lists:foldl(
        fun
            (Request, ok) -> py_worker:told_start(Request);
            (_, Error) -> Error
        end,
        ok,
        Requests
    ).

-spec handle_call(term(), gen_server:from(), #state{}) -> {noreply, #state{}} | {reply, term(), #state{}}.
handle_call({lease, Config}, From, State) ->
    {noreply, grow(1, Config, fun([{Slot, Ticket, _}]) -> {ok, {Slot, Ticket}} end, From, State)};
handle_call({give_back, {Slot, Ticket}}, From, #state{name = Name, config = Config} = State) ->
    case py_registry:is_open_slot(Name, Slot, Ticket) of
        %% Whoever gives it back waits for nothing that it does.
        true -> {noreply, (shrink([Slot], From, State#state{config = Config#{drain_timeout := 0}}))#state{config = Config}};
        false -> {reply, ok, State}
    end;
handle_call(_Request, _From, #state{name = Name, config = #{size := 0}} = State) ->
    {reply, {error, {py, {unknown_pool, Name}}}, State};
handle_call({resize, Size}, From, #state{slots = Slots} = State) when Size >= length(Slots) ->
    {noreply, grow(Size - length(Slots), State#state.config, fun(_) -> ok end, From, State)};
handle_call({resize, Size}, From, #state{slots = Slots} = State) ->
    {noreply, shrink(lists:nthtail(Size, lists:sort(Slots)), From, State)};
handle_call(add_worker, From, State) ->
    {noreply, grow(1, State#state.config, fun([{_, _, Worker}]) -> {ok, Worker} end, From, State)};
handle_call({remove_worker, Worker}, From, #state{slots = Slots} = State) ->
    case py_registry:place(Worker) of
        {ok, {_, Slot}} when Slots =:= [Slot] -> {reply, {error, {py, {last_worker, State#state.name}}}, State};
        {ok, {_, Slot}} -> {noreply, shrink([Slot], From, State)};
        error -> {reply, {error, {py, {unknown_worker, Worker}}}, State}
    end;
handle_call(_Request, _From, State) ->
    {reply, {error, unknown_request}, State}.

-spec handle_cast(term(), #state{}) -> {noreply, #state{}}.
handle_cast({replace, Worker}, #state{slots = Slots, leaving = Leaving, config = #{size := Size}} = State) ->
    case py_registry:place(Worker) of
        {ok, {_, Slot}} when Size > 0, length(Leaving) < ?MOST_LEAVING ->
            {noreply, case lists:member(Slot, Slots) of true -> replace(Slot, State); false -> State end};
        _ ->
            {noreply, State}
    end;
handle_cast(_Message, State) ->
    {noreply, State}.

-spec handle_info(term(), #state{}) -> {noreply, #state{}}.
handle_info({gone, Slot}, #state{leaving = Leaving, load = Load} = State) ->
    py_registry:delete_slot(Load, Slot),
    {noreply, published(State#state{leaving = lists:delete(Slot, Leaving)})};
handle_info({failed, Slots}, State) ->
    {noreply, shrink(Slots, none, State)};
%% The worker in the slot `Old' waits for the end of its calls, however long that takes.
handle_info({replaced, Old, _New}, State) ->
    {noreply, leave(Old, State)};
%% It goes on, in its old place.
handle_info({not_replaced, Old, New}, #state{slots = Slots, leaving = Leaving} = State) ->
    case lists:member(New, Slots) of
        true -> {noreply, shrink([New], none, State#state{slots = [Old | Slots], leaving = lists:delete(Old, Leaving)})};
        false -> {noreply, leave(Old, State)}
    end;
handle_info(_Message, State) ->
    {noreply, State}.

%% The new workers take calls as soon as they serve; if one does not start, all of them go again.
grow(Count, Config, Answer, From, #state{slots = Slots, leaving = Leaving, name = Name} = State) ->
    Free = lists:seq(1, length(Slots) + length(Leaving) + Count) -- (Slots ++ Leaving),
    New = lists:sublist(Free, Count),
    case length(New) =:= Count andalso lists:max([0 | New]) =< py_pool_options:max_workers() of
        true ->
            Workers = [start_worker(Slot, Config, State) || Slot <- New],
            Pool = self(),
            _ = spawn_link(fun() ->
                case await(Workers) of
                    ok ->
                        gen_server:reply(From, Answer(Workers));
                    {error, Reason} ->
                        Pool ! {failed, New},
                        gen_server:reply(From, {error, {py, {start, Name, Reason}}})
                end
            end),
            published(State#state{slots = Slots ++ New});
        false ->
            gen_server:reply(From, {error, {py, {too_many_workers, py_pool_options:max_workers()}}}),
            State
    end.

%% Another worker in place of one that takes no more calls. What waits there goes to the new one as soon as that serves.
replace(Old, #state{slots = Slots, leaving = Leaving, config = Config} = State) ->
    case lists:seq(1, py_pool_options:max_workers()) -- (Slots ++ Leaving) of
        [] ->
            State;
        [New | _] ->
            Worker = start_worker(New, Config, State),
            Pool = self(),
            _ = spawn_link(fun() ->
                case await([Worker]) of
                    ok -> Pool ! {replaced, Old, New};
                    {error, _} -> Pool ! {not_replaced, Old, New}
                end
            end),
            published(State#state{slots = [New | lists:delete(Old, Slots)], leaving = [Old | Leaving]})
    end.

leave(Old, #state{slots = Slots, leaving = Leaving, config = Config} = State) ->
    Left = shrink([Old], none, State#state{leaving = lists:delete(Old, Leaving), config = Config#{drain_timeout := infinity}}),
    published(Left#state{slots = lists:delete(Old, Slots), config = Config}).

shrink(Gone, From, #state{slots = Slots, leaving = Leaving, name = Name, config = #{drain_timeout := Timeout}} = State) ->
    Pool = self(),
    Sup = py_registry:worker_sup(Name),
    lists:foreach(fun(Slot) -> py_registry:close_slot(Name, Slot) end, Gone),
    Workers = [{Slot, Worker} || Slot <- Gone, {ok, Worker} <- [py_registry:worker(Name, Slot)]],
    %% Those whose process is just being replaced find out by themselves.
    _ = [Pool ! {gone, Slot} || Slot <- Gone, not lists:keymember(Slot, 1, Workers)],
    _ = spawn_link(fun() ->
        Asked = [{Slot, Worker, py_worker:drain(Worker, Timeout)} || {Slot, Worker} <- Workers],
        lists:foreach(
            fun({Slot, Worker, Request}) ->
                _ = gen_server:receive_response(Request, infinity),
                py_worker_sup:stop_worker(Sup, Worker),
                %% One that was killed could not take itself out.
                py_registry:delete_worker(Worker),
                Pool ! {gone, Slot}
            end,
            Asked
        ),
        From =:= none orelse gen_server:reply(From, ok)
    end),
    published(State#state{slots = Slots -- Gone, leaving = Leaving ++ Gone}).
