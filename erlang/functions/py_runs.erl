%%% @doc The server of durable runs: it owns their states. Every change is written and synced before it is acted on, many at a time.
%%%
%%% It takes what stands in its mailbox, notes what each message comes to ({@link py_run_state:decide/3}), and when there is nothing more
%%% to take, writes all of it in one write with one sync (`py_run_journal'). Then, and not before, readers see it, callers are
%%% answered, attempts go. Where the disk is full, nothing is acted on: who asks for something new is told, what has happened
%%% is kept and written when there is room. See "Runs" in docs/architecture.md.
%%%
%%% What is in its memory alone (queues, which worker has which run) is made anew from what was written.
%%% @private
-module(py_runs).
-behaviour(gen_server).

-export([start_link/1]).
-export([init/1, handle_continue/2, handle_call/3, handle_cast/2, handle_info/2, terminate/2]).

-record(attempt, {pid :: pid(), monitor :: reference(), pool = none :: none | binary(), worker = none :: none | pid()}).
-record(state, {
    directory :: file:filename_all(),
    store :: py_store:store(),
    journal :: py_run_journal:journal(),
    %% What was noted and not written, the newest first, and what it makes of the runs.
    noted = [] :: [entry()],
    count = 0 :: non_neg_integer(),
    dirty = #{} :: #{py_run_state:id() => py_run_state:run() | pruned},
    disk = ok :: ok | file:posix(),
    %% How large the journal was when it was last written anew.
    base = 0 :: non_neg_integer(),
    queues = py_run_queues:new() :: py_run_queues:queues(),
    attempts = #{} :: #{py_run_state:id() => #attempt{}},
    pids = #{} :: #{pid() => py_run_state:id()},
    fences = #{} :: #{pid() => py_run_state:id()},
    listeners = py_run_listeners:new() :: py_run_listeners:listeners(),
    %% What runs that wait for an environment's pool know of it.
    environments = py_run_environments:new() :: py_run_environments:known(),
    is_draining = false :: boolean()
}).
-type entry() :: {py_run_state:id(), [py_run_state:change() | pruned], [todo()]}.
-type todo() :: {effect, py_run_state:effect()} | {reply, gen_server:from(), term()} | {drop, pid()}.

-define(AT_ONCE, 512).
-define(FULL_MS, 500).
-define(POLL_MS, 250).
-define(MOST_RUNS, 500_000).
-define(REWRITE_BYTES, 1 bsl 25).

-spec start_link(file:filename_all()) -> gen_server:start_ret().
start_link(Directory) ->
    py_predecessor:await_end(?MODULE),
    gen_server:start_link({local, ?MODULE}, ?MODULE, Directory, [{spawn_opt, [{message_queue_data, off_heap}]}]).

-spec init(file:filename_all()) -> {ok, #state{}, {continue, read}} | {stop, {py, py_error:reason()}}.
init(Directory) ->
    process_flag(trap_exit, true),
    case py_store:open(Directory) of
        {ok, Store} ->
            %% So that what is read makes no atom.
            _ = [{module, _} = code:ensure_loaded(Module) || Module <- [py_run_state, py_run_table, py_run_journal, py_run_volumes, py_env_spec, py_service_options]],
            py_run_table:clear(),
            ok = py_run_files:ensure(runs(Directory)),
            case py_run_journal:open(filename:join(Directory, <<"journal">>)) of
                {ok, Journal} -> {ok, #state{directory = Directory, store = Store, journal = Journal}, {continue, read}};
                {error, {version, Found}} -> {stop, unusable(Directory, io_lib:format("the journal is another version's: it begins with ~tp", [Found]))};
                {error, Reason} -> {stop, unusable(Directory, ["the journal: ", file:format_error(Reason)])}
            end;
        {error, Reason} ->
            {stop, Reason}
    end.

unusable(Directory, Text) -> {py, {state_dir, py_store:text(Directory), lists:flatten(Text)}}.

runs(Directory) -> filename:join(Directory, <<"runs">>).

%% Its supervisors don't wait for that.
-spec handle_continue(read, #state{}) -> noreply() | {stop, term(), #state{}}.
handle_continue(read, #state{directory = Directory, journal = Journal} = State) ->
    case py_run_journal:read(fun py_run_table:replay/2, 0, Journal) of
        {ok, Records, Damage, Read} ->
            py_run_journal:tell(Damage),
            Recovered = recovered(Records > 10_000 + 2 * py_run_table:count(), State#state{journal = Read, base = py_run_journal:size(Read)}),
            true = py_run_table:read(),
            next(Recovered);
        {error, Reason} ->
            {stop, unusable(Directory, ["the journal: ", file:format_error(Reason)]), State}
    end.

recovered(IsLong, #state{directory = Directory} = State) ->
    %% One that is just being begun has its files already.
    Now = py_run_table:new_id(now_ms()),
    IsKnown = fun(Id) -> Id >= Now orelse py_run_table:find(Id) =/= error end,
    _ = spawn(fun() -> py_run_files:sweep(runs(Directory), IsKnown) end),
    Open = py_run_table:list(#{state => ['CREATED', 'PENDING', 'BUILDING', 'READY', 'RUNNING'], limit => ?MOST_RUNS}),
    %% Nobody sees a state that was true of the node before.
    committed(compacted(IsLong, lists:foldl(fun taken_up/2, State, Open))).

%% An attempt that has outlived the server is the server's again.
taken_up(#{id := Id, state := Was} = Run, State) ->
    IsService = py_run_state:is_service(Run),
    case py_run_attempt:find(Id) of
        {ok, Pid} when Was =:= 'RUNNING'; IsService -> attempt(Id, #attempt{pid = Pid, monitor = monitor(process, Pid)}, State);
        {ok, Pid} -> py_run_attempt:drop(Pid), decided(Id, recover, [], Run, State);
        error -> decided(Id, recover, [], Run, State)
    end.

attempt(Id, #attempt{pid = Pid} = Attempt, #state{attempts = Attempts, pids = Pids} = State) ->
    State#state{attempts = Attempts#{Id => Attempt}, pids = Pids#{Pid => Id}}.

%%% Messages

-type noreply() :: {noreply, #state{}} | {noreply, #state{}, 0}.

-spec handle_call(term(), gen_server:from(), #state{}) -> noreply() | {reply, term(), #state{}} | {reply, term(), #state{}, 0}.
handle_call({start, _, _}, _From, #state{disk = Reason} = State) when Reason =/= ok ->
    replied(full(Reason, State), State);
handle_call({start, Id, Spec}, From, State) ->
    next(started(Id, Spec, From, State));
handle_call({Event, _}, _From, #state{disk = Reason} = State) when Event =:= stop, Reason =/= ok; Event =:= retry, Reason =/= ok ->
    replied(full(Reason, State), State);
handle_call({Event, Id}, From, State) when Event =:= stop; Event =:= retry ->
    case current(Id, State) of
        {ok, Run} -> next(decided(Id, Event, [{reply, From, ok}], Run, State));
        error -> replied({error, {py, {unknown_run, Id}}}, State)
    end;
handle_call({prune, Ids}, From, State) ->
    next(pruned(Ids, From, State));
handle_call(info, _From, #state{disk = Disk, journal = Journal, queues = Queues, attempts = Attempts, directory = Directory} = State) ->
    Info = #{directory => Directory, disk => Disk, journal_bytes => py_run_journal:size(Journal), waiting => py_run_queues:waiting(Queues), running => map_size(Attempts)},
    replied(Info, State);
handle_call(pools, _From, #state{queues = Queues, attempts = Attempts} = State) ->
    Running = [Pool || Id <- maps:keys(Attempts), {ok, #{spec := #{pool := Pool}}} <- [current(Id, State)]],
    replied(lists:usort(py_run_queues:pools(Queues) ++ Running), State);
%% What is the program's ends with its node.
handle_call(drain, _From, #state{attempts = Attempts} = State) ->
    Ends = [Id || Id <- maps:keys(Attempts), {ok, Run} <- [current(Id, State)], py_run_state:is_service(Run), not py_run_state:is_kept(Run)],
    replied({ok, Ends}, State#state{is_draining = true});
handle_call(key, _From, #state{store = Store} = State) ->
    replied(py_store:key(Store), State);
handle_call(directory, _From, #state{directory = Directory} = State) ->
    replied(runs(Directory), State);
handle_call({subscribe, Pid, What}, _From, #state{listeners = Listeners} = State) ->
    replied(ok, State#state{listeners = py_run_listeners:subscribe(Pid, What, Listeners)});
handle_call({unsubscribe, Pid}, _From, #state{listeners = Listeners} = State) ->
    replied(ok, State#state{listeners = py_run_listeners:unsubscribe(Pid, Listeners)});
handle_call(_Request, _From, State) ->
    replied({error, unknown_request}, State).

full(Reason, #state{directory = Directory}) ->
    {error, {py, {state_dir, py_store:text(Directory), lists:flatten(["nothing can be written: ", file:format_error(Reason)])}}}.

-spec handle_cast(term(), #state{}) -> noreply().
handle_cast(_Message, State) -> next(State).

-spec handle_info(term(), #state{}) -> noreply().
handle_info(Message, State) when Message =:= timeout; Message =:= full ->
    next(committed(State));
handle_info({placed, Pid, Id, Process}, State) ->
    next(placed(Id, Pid, Process, taken(Pid, State)));
handle_info({unplaced, Pid, Id}, State) ->
    next(poll(requeued(Id, Pid, taken(Pid, State))));
handle_info({ended, Pid, Id, Attempt, Outcome}, State) ->
    next(ended(Id, Pid, Attempt, Outcome, taken(Pid, State)));
handle_info({orphans, Pid, Id, Left}, State) ->
    logger:warning("runs: the attempt before of run ~ts still has processes that can't be ended: ~w; the next one waits for them", [Id, Left], #{domain => [py]}),
    next(taken(Pid, State));
handle_info({environment, Pool, What}, State) ->
    next(environment(What, Pool, State));
handle_info({due, Id}, State) ->
    next(due(Id, State));
handle_info(poll, #state{queues = Queues} = State) ->
    next(dispatched_all(asked_again(State#state{queues = py_run_queues:polled(Queues)})));
handle_info({said, Pid, Id, Event}, State) ->
    next(event(Id, Event, taken(Pid, State)));
handle_info({failed, Pid, Id, Event}, State) ->
    next(failed(Id, Event, released(Id, Pid, taken(Pid, State))));
handle_info({wait, Alias, Pid, Id}, #state{listeners = Listeners} = State) ->
    case current(Id, State) of
        {ok, _} -> next(answered(Id, State#state{listeners = py_run_listeners:wait(Id, Alias, Pid, Listeners)}));
        error -> Alias ! {Alias, unknown}, next(State)
    end;
handle_info({unwait, Alias, Id}, #state{listeners = Listeners} = State) ->
    next(State#state{listeners = py_run_listeners:unwait(Id, Alias, Listeners)});
handle_info({'DOWN', _, process, Pid, _}, #state{pids = Pids, fences = Fences, listeners = Listeners} = State) ->
    case {Pids, Fences} of
        {#{Pid := Id}, _} -> next(lost(Id, Pid, State));
        {_, #{Pid := Id}} -> next(fence(Id, State#state{fences = maps:remove(Pid, Fences)}));
        _ -> next(State#state{listeners = py_run_listeners:down(Pid, Listeners)})
    end;
handle_info(_Message, State) ->
    next(State).

%% It has been heard, and is acted on with the next write, or again after the next start.
taken(Pid, State) ->
    Pid ! {taken, self()},
    State.

next(#state{disk = ok, count = Count} = State) when Count >= ?AT_ONCE -> {noreply, committed(State)};
next(#state{disk = ok, noted = [_ | _]} = State) -> {noreply, State, 0};
next(State) -> {noreply, State}.

%% What is noted is still to be written.
replied(Answer, #state{disk = ok, noted = [_ | _]} = State) -> {reply, Answer, State, 0};
replied(Answer, State) -> {reply, Answer, State}.

-spec terminate(term(), #state{}) -> ok.
terminate(_Reason, #state{journal = Journal, store = Store} = State) ->
    _ = committed(State),
    py_run_journal:close(Journal),
    py_store:close(Store).

%%% Events

current(Id, #state{dirty = Dirty}) -> py_run_table:current(Id, Dirty).

event(Id, Event, State) ->
    case current(Id, State) of
        {ok, Run} -> decided(Id, Event, [], Run, State);
        error -> State
    end.

decided(Id, Event, Todo, Run, State) ->
    case py_run_state:decide(Event, now_ms(), Run) of
        {ok, Changes, Effects} -> note(Id, Changes, [{effect, Effect} || Effect <- Effects] ++ Todo, Run, State);
        {error, Reason} -> note(Id, [], refusals(Todo, Reason), Run, State)
    end.

refusals(Todo, Reason) -> [{reply, From, {error, {py, Reason}}} || {reply, From, _} <- Todo].

note(Id, Changes, Todo, Run, #state{noted = Noted, count = Count, dirty = Dirty} = State) ->
    Next = lists:foldl(fun py_run_state:apply/2, Run, Changes),
    Known = if Changes =:= [] -> Dirty; true -> Dirty#{Id => Next} end,
    State#state{noted = [{Id, Changes, Todo} | Noted], count = Count + 1, dirty = Known}.

now_ms() -> erlang:system_time(millisecond).

started(Id, Spec, From, #state{dirty = Dirty} = State) ->
    case py_run_table:first(Spec, Dirty) of
        {ok, #{id := First}} ->
            note(First, [], [{reply, From, {ok, First}}], none, State);
        error ->
            case py_run_table:count() >= ?MOST_RUNS of
                true ->
                    note(Id, [], [{reply, From, {error, {py, {run, "there are 500,000 runs: py_run:prune/1 forgets those that have ended"}}}}], none, State);
                false ->
                    {Changes, Effects} = py_run_state:new(Spec, now_ms()),
                    Noted = note(Id, Changes, [{effect, Effect} || Effect <- Effects] ++ [{reply, From, {ok, Id}}], {Id, new}, State),
                    py_run_table:put_key(Spec, Id),
                    Noted
            end
    end.

pruned(Ids, From, State) ->
    Ended = [Id || Id <- Ids, {ok, Run} <- [current(Id, State)], py_run_state:has_ended(Run), maps:get(is_fenced, Run) orelse not is_map_key(Id, State#state.attempts)],
    #state{noted = Noted, count = Count, dirty = Dirty} = State,
    Entries = [{Id, [pruned], []} || Id <- Ended],
    State#state{
        noted = [{<<>>, [], [{reply, From, {ok, Ended}}]} | lists:reverse(Entries, Noted)],
        count = Count + length(Ended) + 1,
        dirty = lists:foldl(fun(Id, Acc) -> Acc#{Id => pruned} end, Dirty, Ended)
    }.

%%% Attempts

placed(Id, Pid, Process, #state{attempts = Attempts} = State) ->
    case {Attempts, current(Id, State)} of
        {#{Id := #attempt{pid = Pid}}, {ok, Run}} ->
            case py_run_state:decide({'begin', Process}, now_ms(), Run) of
                {ok, Changes, Effects} -> note(Id, Changes, [{effect, Effect} || Effect <- Effects], Run, State);
                %% It was stopped meanwhile.
                {error, _} -> py_run_attempt:drop(Pid), released(Id, Pid, State)
            end;
        _ -> py_run_attempt:drop(Pid), State
    end.

requeued(Id, Pid, State) ->
    case current(Id, State) of
        {ok, Run} -> queued(Run, released(Id, Pid, State));
        error -> released(Id, Pid, State)
    end.

ended(Id, Pid, Attempt, Outcome, State) ->
    Free = released(Id, Pid, State),
    case current(Id, Free) of
        %% It is the node that stops: the next one has it go on.
        {ok, #{is_stopping := false, spec := #{service := #{lasts := true}}}} when State#state.is_draining -> Free;
        {ok, #{spec := Spec} = Run} ->
            Pause = py_run_state:backoff_ms(Spec, Attempt, rand:uniform()),
            decided(Id, {ended, Attempt, Outcome, Pause}, [], Run, Free);
        error ->
            Free
    end.

failed(Id, Event, #state{is_draining = IsDraining} = State) ->
    case current(Id, State) of
        {ok, #{spec := #{service := #{lasts := Lasts}}}} when IsDraining -> if Lasts -> State; true -> event(Id, stop, State) end;
        _ -> event(Id, Event, State)
    end.

%% Its process was killed: what it has called may run on.
lost(Id, Pid, State) ->
    Free = released(Id, Pid, State),
    case current(Id, Free) of
        {ok, #{spec := #{service := _}, is_stopping := IsStopping} = Run} ->
            Next = served(Id, Run, Free),
            _ = [py_run_attempt:stop(Again) || IsStopping, #{Id := #attempt{pid = Again}} <- [Next#state.attempts]],
            Next;
        {ok, #{state := 'RUNNING'} = Run} -> settle(Id, Run, Free);
        {ok, Run} -> queued(Run, Free);
        error -> Free
    end.

released(Id, Pid, #state{attempts = Attempts, pids = Pids, queues = Queues} = State) ->
    case Attempts of
        #{Id := #attempt{pid = Pid, monitor = Monitor, pool = Pool, worker = Worker}} ->
            demonitor(Monitor, [flush]),
            Free = State#state{attempts = maps:remove(Id, Attempts), pids = maps:remove(Pid, Pids), queues = py_run_queues:released(Worker, Queues)},
            if Pool =:= none -> Free; true -> dispatched(Pool, Free) end;
        #{} -> State
    end.

settle(Id, Run, #state{directory = Directory} = State) ->
    {Pid, Monitor} = py_run_attempt:settle(Id, Run, #{runs => runs(Directory)}),
    attempt(Id, #attempt{pid = Pid, monitor = Monitor}, State).

fence(Id, #state{fences = Fences} = State) ->
    case current(Id, State) of
        {ok, #{process := Process, is_fenced := false}} when Process =/= none ->
            {Pid, _} = py_run_attempt:fence(Id, Process),
            State#state{fences = Fences#{Pid => Id}};
        _ -> State
    end.

%%% What is written, and what follows

committed(#state{noted = []} = State) ->
    State;
committed(#state{noted = Noted, journal = Journal, disk = Disk} = State) ->
    Entries = lists:reverse(Noted),
    case py_run_journal:write([{Id, Change} || {Id, Changes, _} <- Entries, Change <- Changes], Journal) of
        {ok, Written} ->
            _ = Disk =:= ok orelse logger:notice("runs: there is room again", [], #{domain => [py]}),
            seen(Entries, State#state{journal = Written, disk = ok, noted = [], count = 0, dirty = #{}});
        {error, Reason, Same} ->
            kept(Reason, Entries, State#state{journal = Same})
    end.

%% What was asked for has not happened; what has happened is written later.
kept(Reason, Entries, #state{disk = Disk} = State) ->
    _ = Disk =:= ok andalso logger:error("runs: nothing can be written: ~ts; nothing new begins until there is room", [file:format_error(Reason)], #{domain => [py]}),
    _ = erlang:send_after(?FULL_MS, self(), full),
    {Asked, Happened} = lists:partition(fun({_, Changes, Todo}) -> Changes =/= [] andalso lists:keymember(reply, 1, Todo) end, Entries),
    _ = [gen_server:reply(From, full(Reason, State)) || {_, _, Todo} <- Asked, {reply, From, _} <- Todo],
    State#state{disk = Reason, noted = lists:reverse(Happened), dirty = lists:foldl(fun py_run_table:changed/2, #{}, Happened)}.

seen(Entries, #state{directory = Directory} = State) ->
    Shown = lists:foldl(fun show/2, State, Entries),
    Done = lists:foldl(fun({Id, _, Todo}, Acc) -> lists:foldl(fun(Each, Acc1) -> do(Each, Id, Acc1) end, Acc, Todo) end, Shown, Entries),
    case [Id || {Id, [pruned], _} <- Entries] of
        [] -> ok;
        Gone -> _ = spawn(fun() -> lists:foreach(fun(Id) -> py_run_files:delete(runs(Directory), Id) end, Gone) end), ok
    end,
    #state{journal = Journal, base = Base} = Done,
    compacted(py_run_journal:size(Journal) > max(?REWRITE_BYTES, 4 * Base), Done).

show({_, [], _}, State) -> State;
show({Id, [pruned], _}, State) ->
    py_run_table:delete(Id),
    State;
show({Id, Changes, _}, #state{listeners = Listeners} = State) ->
    Before = case py_run_table:find(Id) of
        {ok, Run} -> Run;
        error -> {Id, new}
    end,
    Next = lists:foldl(fun py_run_state:apply/2, Before, Changes),
    py_run_table:put_run(Next),
    py_run_listeners:tell(Before, Next, Listeners),
    State.

do({reply, From, Answer}, _Id, State) -> gen_server:reply(From, Answer), State;
do({effect, Effect}, Id, State) -> effect(Effect, Id, State).

effect({enqueue, NotBefore}, Id, State) ->
    case {NotBefore - now_ms(), current(Id, State)} of
        %% The clock may have been put back.
        {Ms, {ok, #{spec := #{backoff := {_, Most}}}}} when Ms > 0 ->
            _ = erlang:send_after(min(Ms, Most), self(), {due, Id}),
            State;
        _ ->
            due(Id, State)
    end;
effect({call, Attempt}, Id, #state{attempts = Attempts} = State) ->
    case {Attempts, current(Id, State)} of
        {#{Id := #attempt{pid = Pid}}, {ok, Run}} -> py_run_attempt:go(Pid, Attempt, Run), State;
        %% Its process was killed in between.
        {_, {ok, Run}} -> settle(Id, Run, State);
        _ -> State
    end;
effect({cancel, Attempt}, Id, #state{attempts = Attempts} = State) ->
    case Attempts of
        #{Id := #attempt{pid = Pid}} -> py_run_attempt:stop(Pid), State;
        %% Of a service that was to begin nothing is there.
        #{} -> event(Id, {ended, Attempt, stopped, 0}, State)
    end;
effect({settle, _Attempt, _Process}, Id, State) ->
    {ok, Run} = current(Id, State),
    settle(Id, Run, State);
effect({fence, _Process}, Id, State) ->
    fence(Id, State);
effect(ended, Id, State) ->
    answered(Id, State).

answered(Id, #state{listeners = Listeners} = State) ->
    case py_run_table:find(Id) of
        {ok, Run} ->
            case py_run_state:has_ended(Run) of
                true -> State#state{listeners = py_run_listeners:ended(Id, Run, Listeners)};
                false -> State
            end;
        error -> State
    end.

compacted(false, State) ->
    State;
compacted(true, #state{journal = Journal} = State) ->
    Fresh = py_run_journal:renewed([{Id, {snapshot, Run}} || #{id := Id} = Run <- py_run_table:all()], Journal),
    State#state{journal = Fresh, base = py_run_journal:size(Fresh)}.

%%% Queues

due(Id, State) ->
    case current(Id, State) of
        {ok, Run} -> queued(Run, State);
        error -> State
    end.

queued(#{id := Id} = Run, #state{queues = Queues, attempts = Attempts, environments = Known} = State) ->
    case {py_run_state:is_waiting(Run) andalso not is_map_key(Id, Attempts), Run} of
        {true, #{spec := #{service := _}}} -> served(Id, Run, State);
        {true, #{spec := #{pool := Pool}}} -> dispatched(Pool, events(Id, py_run_environments:informed(Run, Known), State#state{queues = py_run_queues:in(Pool, Id, Queues)}));
        {false, _} -> State
    end.

served(_Id, _Run, #state{is_draining = true} = State) -> State;
served(Id, Run, #state{directory = Directory} = State) ->
    {Pid, Monitor} = py_run_service:start(Id, Run, runs(Directory)),
    attempt(Id, #attempt{pid = Pid, monitor = Monitor}, State).

asked_again(#state{queues = Queues, environments = Known} = State) ->
    First = [Run || Pool <- py_run_queues:pools(Queues), {ok, Run} <- [current(hd(py_run_queues:ids(Pool, Queues)), State)]],
    State#state{environments = py_run_environments:ask(First, Known)}.

environment(Said, Pool, #state{queues = Queues, environments = Known, directory = Directory} = State) ->
    case {py_run_queues:ids(Pool, Queues), py_run_environments:heard(Said, Pool, Known)} of
        {[_ | _] = Ids, {new, Events, Next}} ->
            Left = case Said of {failed, _} -> py_run_queues:drop(Pool, Queues); _ -> Queues end,
            Waiting = [Run || Id <- Ids, {ok, Run} <- [current(Id, State)]],
            _ = [py_run_files:add_to_log(runs(Directory), Id, [py_error:text(Error), $\n]) || {failed, Error} <- [Said], #{id := Id} <- Waiting],
            Told = fun(#{id := Id} = Run, Acc) -> events(Id, Events(Run), Acc) end,
            dispatched(Pool, lists:foldl(Told, State#state{environments = Next, queues = Left}, Waiting));
        _ ->
            dispatched(Pool, State)
    end.

events(Id, Events, State) -> lists:foldl(fun(Event, Acc) -> event(Id, Event, Acc) end, State, Events).

dispatched_all(#state{queues = Queues} = State) ->
    lists:foldl(fun dispatched/2, State, py_run_queues:pools(Queues)).

dispatched(_Pool, #state{is_draining = true} = State) -> State;
%% The first of the pool's queue, as long as there is a worker for it.
dispatched(Pool, #state{queues = Queues, disk = ok} = State) ->
    case py_run_queues:out(Pool, Queues) of
        empty -> State;
        {none, _} -> poll(State);
        {Id, Name, Worker, Taken} -> dispatched(Pool, begun(Id, Pool, Name, Worker, State#state{queues = Taken}))
    end;
dispatched(_Pool, State) ->
    poll(State).

begun(Id, Pool, Name, Worker, #state{directory = Directory, queues = Queues, attempts = Attempts} = State) ->
    case current(Id, State) of
        {ok, Run} when not is_map_key(Id, Attempts) ->
            case py_run_state:is_waiting(Run) of
                true ->
                    {IsFresh, Given} = py_run_queues:given(Worker, py_run_state:company(Run), Queues),
                    Plan = #{runs => runs(Directory), worker => Worker, pool => Name, is_fresh => IsFresh},
                    {Pid, Monitor} = py_run_attempt:start(Id, Run, Plan),
                    attempt(Id, #attempt{pid = Pid, monitor = Monitor, pool = Pool, worker = Worker}, State#state{queues = Given});
                false -> State
            end;
        _ -> State
    end.

%% Pools come and go, and workers serve again, without a word to this process.
poll(#state{queues = Queues} = State) ->
    case py_run_queues:poll(Queues) of
        {true, Polling} ->
            _ = erlang:send_after(?POLL_MS, self(), poll),
            State#state{queues = Polling};
        false -> State
    end.
