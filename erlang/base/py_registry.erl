%%% @doc Which pools and workers there are: written rarely, read by every call.
%%%
%%% What a pool is stands in a persistent term (20 ns to read, where a copy out of a table takes 180), which workers it has
%%% in an ETS table: they come and go. The pid of each is in a persistent term of its own as well, which costs nobody a collection of garbage
%%% when it changes, as a pid is part of no other term; where that is missing the table says which there is.
%%%
%%% How busy a worker is stands outside the table, in the pool's `atomics' array (one counter a slot, see {@link load()}),
%%% because it changes twice a call.
%%% @private
-module(py_registry).

-export([new/0, forget_pools/0, put_worker_sup/2, worker_sup/1, put_pool_process/2, pool_process/1]).
-export([put_failure/2, take_failure/1, put_config/2, configs/0, put_python/2, python/1]).
-export([put_dispatcher/2, dispatcher/1, delete_dispatcher/2]).
-export([put_pool/2, pool/1, started/0, stopping/0, close_pool/1, delete_pool/1, pools/0]).
-export([open_slot/2, close_slot/2, close_slots/1, is_open_slot/3, put_interpreter/2, take_interpreter/1]).
-export([figures/2, all_figures/1]).
-export([put_worker/3, delete_worker/1, delete_workers/1, worker/2, workers/1, place/1]).
-export([new_load/0, report_load/4, report_beside/3, report_start/3, report_fill/3, fill/2, few/1, delete_slot/2]).
-export([shares_work/1, report_kept/3, most_kept/3, most_in_hand/3, idle_slot/3, hint_kept/1, is_any_kept/1, forget_kept/1]).
-export([take/2, take_idle/2, give_back/2, in_hand/2, beside/2, turn/1, is_serving/2, is_absent/2, started_at/2]).
-export_type([pool/0, slot/0, ticket/0, load/0]).

-type slot() :: pos_integer().
-type ticket() :: reference().
%% Of a worker, through all processes that its supervisor starts for it.
-type load() :: atomics:atomics_ref().
%% Counter `Slot' is the number of calls that the worker in that slot has in hand, plus 2^32 while it can't serve, or
%% 2^40 where there is none. Behind the slots stand the turns of a scheduler, when each worker began to serve, how many calls it could
%% let go of, whether any has some, how many of the calls that it has in hand run beside the others, and how many it may have though others
%% idle.
-type pool() :: #{
    load := load(),
    size := slot(),
    scheduler := py_pool_options:scheduler(),
    timeout := timeout(),
    max_queue := non_neg_integer() | infinity,
    hand := pos_integer(),
    few := non_neg_integer(),
    show_arguments := undefined | py_call_options:show_arguments(),
    style := undefined | erlang | elixir,
    mapping := py_mapping:mapping(),
    flags := py_mapping:flags()
}.

-define(TABLE, ?MODULE).
-define(NOT_SERVING, (1 bsl 32)).
-define(ABSENT, (1 bsl 40)).

%% @doc Make the table; it belongs to the calling process.
-spec new() -> ok.
new() ->
    ?TABLE = ets:new(?TABLE, [named_table, public, set, {read_concurrency, true}]),
    ok.

%% @doc Forget the pools of a tree that went down without a chance to do it.
-spec forget_pools() -> ok.
forget_pools() ->
    _ = [persistent_term:erase(Key) || {Key, _} <- persistent_term:get(), is_ours(Key)],
    ok.

is_ours({?MODULE, _Pool}) -> true;
is_ours({?MODULE, _Pool, _Slot}) -> true;
is_ours(_) -> false.

-spec put_worker_sup(py_config:pool_name(), pid()) -> true.
put_worker_sup(Pool, Sup) -> ets:insert(?TABLE, {{worker_sup, Pool}, Sup}).

-spec worker_sup(py_config:pool_name()) -> pid().
worker_sup(Pool) -> ets:lookup_element(?TABLE, {worker_sup, Pool}, 2).

-spec put_pool_process(py_config:pool_name(), pid()) -> true.
put_pool_process(Pool, Pid) -> ets:insert(?TABLE, {{pool_process, Pool}, Pid}).

%% @doc The process that looks after a pool; `error' when there is none of that name.
-spec pool_process(py_config:pool_name()) -> {ok, pid()} | error.
pool_process(Pool) ->
    try
        {ok, ets:lookup_element(?TABLE, {pool_process, Pool}, 2)}
    catch
        error:badarg -> error
    end.

%% @doc Note the process that has a pool's tasks, unless there is one that lives.
-spec put_dispatcher(py_config:pool_name(), pid()) -> true | {taken, pid()}.
put_dispatcher(Pool, Pid) ->
    case ets:insert_new(?TABLE, {{dispatcher, Pool}, Pid}) orelse dispatcher(Pool) of
        true ->
            true;
        {ok, Other} ->
            {taken, Other};
        error ->
            %% What one that was killed has left.
            ets:match_delete(?TABLE, {{dispatcher, Pool}, '_'}),
            put_dispatcher(Pool, Pid)
    end.

-spec dispatcher(py_config:pool_name()) -> {ok, pid()} | error.
dispatcher(Pool) ->
    try ets:lookup_element(?TABLE, {dispatcher, Pool}, 2) of
        Pid ->
            case is_process_alive(Pid) of
                true -> {ok, Pid};
                false -> error
            end
    catch
        error:badarg -> error
    end.

-spec delete_dispatcher(py_config:pool_name(), pid()) -> true.
delete_dispatcher(Pool, Pid) -> ets:delete_object(?TABLE, {{dispatcher, Pool}, Pid}).

%% @doc Note a pool that was started, with its configuration.
-spec put_config(py_config:pool_name(), py_config:pool()) -> true.
put_config(Name, Config) -> ets:insert(?TABLE, {{config, Name}, Config}).

%% @doc The pools that were started and not stopped.
-spec configs() -> [{py_config:pool_name(), py_config:pool()}].
configs() -> [{Name, Config} || [Name, Config] <- ets:match(?TABLE, {{config, '$1'}, '$2'})].

%% @doc Note what the last interpreter of a pool that was configured said of its version.
-spec put_python(py_config:pool_name(), term()) -> true.
put_python(Name, Version) -> ets:insert(?TABLE, {{python, Name}, Version}).

%% @doc What a pool's interpreters say of their version; `undefined' where none has been there.
-spec python(py_config:pool_name()) -> term().
python(Name) ->
    try
        ets:lookup_element(?TABLE, {python, Name}, 2)
    catch
        error:badarg -> undefined
    end.

%% @doc Note why a pool does not start.
-spec put_failure(py_config:pool_name(), term()) -> true.
put_failure(Name, Reason) -> ets:insert(?TABLE, {{failure, Name}, Reason}).

%% @doc Why a pool that was just started did not.
-spec take_failure(py_config:pool_name()) -> {error, term()} | none.
take_failure(Name) ->
    case ets:take(?TABLE, {failure, Name}) of
        [{_, Reason}] -> {error, Reason};
        [] -> none
    end.

-spec put_pool(py_config:pool_name(), pool()) -> true.
put_pool(Name, Pool) ->
    persistent_term:put({?MODULE, Name}, Pool),
    ets:insert(?TABLE, {{pool, Name}}).

%% @doc The pool of that name; `not_started' when the application does not run.
-spec pool(py_config:pool_name()) -> {ok, pool()} | {error, not_started | {unknown_pool, term()}}.
pool(Name) ->
    case persistent_term:get({?MODULE, Name}, undefined) of
        undefined ->
            case is_started() of
                true -> {error, {unknown_pool, Name}};
                false -> {error, not_started}
            end;
        Pool ->
            {ok, Pool}
    end.

%% @doc Say that the pools of the configuration are there: from now on another name is an unknown one.
-spec started() -> true.
started() -> ets:insert(?TABLE, {started}).

%% @doc Say that the application is about to stop.
-spec stopping() -> true.
stopping() -> ets:delete(?TABLE, started).

is_started() ->
    try
        ets:member(?TABLE, started)
    catch
        error:badarg -> false
    end.

%% @doc Forget a pool that was stopped, and its workers. One whose processes died stays: it is being started again, and must
%% not be deleted by what is left of the old one.
-spec delete_pool(py_config:pool_name()) -> true.
delete_pool(Name) ->
    ets:delete(?TABLE, {config, Name}),
    close_pool(Name),
    ets:delete(?TABLE, {pool_process, Name}),
    ets:delete(?TABLE, {python, Name}),
    delete_workers(Name).

%% @doc No call finds the pool any more.
-spec close_pool(py_config:pool_name()) -> boolean().
close_pool(Name) ->
    ets:delete(?TABLE, {pool, Name}),
    persistent_term:erase({?MODULE, Name}).

%% @doc Take out what belongs to the workers of a pool whose processes have ended.
-spec delete_workers(py_config:pool_name()) -> true.
delete_workers(Name) ->
    _ = [delete_worker(Pid) || {_, Pid} <- workers(Name)],
    ets:match_delete(?TABLE, {{slot, Name, '_'}, '_'}),
    ets:match_delete(?TABLE, {{figures, Name, '_'}, '_'}),
    ets:delete(?TABLE, {worker_sup, Name}).

%% @doc The names of all pools, sorted; `[]' when the application does not run.
-spec pools() -> [py_config:pool_name()].
pools() ->
    try
        lists:sort([Name || [Name] <- ets:match(?TABLE, {{pool, '$1'}})])
    catch
        error:badarg -> []
    end.

%% @doc From now on the slot belongs to the worker with this ticket.
-spec open_slot(py_config:pool_name(), slot()) -> ticket().
open_slot(Pool, Slot) ->
    Ticket = make_ref(),
    ets:insert(?TABLE, {{slot, Pool, Slot}, Ticket}),
    Ticket.

%% @doc From now on the slot belongs to nobody.
-spec close_slot(py_config:pool_name(), slot()) -> true.
close_slot(Pool, Slot) -> ets:delete(?TABLE, {slot, Pool, Slot}).

%% @doc From now on no slot of the pool belongs to anybody.
-spec close_slots(py_config:pool_name()) -> true.
close_slots(Pool) -> ets:match_delete(?TABLE, {{slot, Pool, '_'}, '_'}).

-spec is_open_slot(py_config:pool_name(), slot(), ticket()) -> boolean().
is_open_slot(Pool, Slot, Ticket) -> ets:match_object(?TABLE, {{slot, Pool, Slot}, Ticket}) =/= [].

%% @doc Keep the interpreter of a worker where its successor finds it.
-spec put_interpreter(ticket(), term()) -> true.
put_interpreter(Ticket, Interpreter) -> ets:insert(?TABLE, {{interpreter, Ticket}, Interpreter}).

%% @doc The interpreter of a worker, which is forgotten.
-spec take_interpreter(ticket()) -> {ok, term()} | error.
take_interpreter(Ticket) ->
    case ets:take(?TABLE, {interpreter, Ticket}) of
        [{_, Interpreter}] -> {ok, Interpreter};
        [] -> error
    end.

%% @doc The figures of a slot, whichever workers it has had since its pool was started.
-spec figures(py_config:pool_name(), slot()) -> py_figures:figures().
figures(Pool, Slot) ->
    Key = {figures, Pool, Slot},
    try
        ets:lookup_element(?TABLE, Key, 2)
    catch
        error:badarg ->
            _ = ets:insert_new(?TABLE, {Key, py_figures:new()}),
            ets:lookup_element(?TABLE, Key, 2)
    end.

%% @doc The figures of all slots that a pool has had.
-spec all_figures(py_config:pool_name()) -> [py_figures:figures()].
all_figures(Pool) -> [Figures || [Figures] <- ets:match(?TABLE, {{figures, Pool, '_'}, '$1'})].

-spec put_worker(py_config:pool_name(), slot(), pid()) -> true.
put_worker(Pool, Slot, Pid) ->
    Before = listed_worker(Pool, Slot),
    ets:insert(?TABLE, [{{worker, Pool, Slot}, Pid}, {{place, Pid}, Pool, Slot}]),
    persistent_term:put({?MODULE, Pool, Slot}, Pid),
    %% A predecessor that was killed could not take itself out; at no time is there none.
    lists:all(fun delete_worker/1, [Killed || {ok, Killed} <- [Before]]).

-spec delete_worker(pid()) -> true.
delete_worker(Pid) ->
    case place(Pid) of
        {ok, {Pool, Slot}} ->
            %% That of a successor which comes in between is lost as well, and is found in the table.
            _ = persistent_term:get({?MODULE, Pool, Slot}, undefined) =:= Pid andalso persistent_term:erase({?MODULE, Pool, Slot}),
            ets:delete(?TABLE, {place, Pid}),
            ets:delete_object(?TABLE, {{worker, Pool, Slot}, Pid});
        error ->
            true
    end.

%% @doc The worker process in a slot; `error' while it is being replaced.
-spec worker(py_config:pool_name(), slot()) -> {ok, pid()} | error.
worker(Pool, Slot) ->
    case persistent_term:get({?MODULE, Pool, Slot}, undefined) of
        undefined -> listed_worker(Pool, Slot);
        Pid -> {ok, Pid}
    end.

listed_worker(Pool, Slot) ->
    try
        {ok, ets:lookup_element(?TABLE, {worker, Pool, Slot}, 2)}
    catch
        error:badarg -> error
    end.

%% @doc The workers of a pool by slot.
-spec workers(py_config:pool_name()) -> [{slot(), pid()}].
workers(Pool) ->
    lists:sort([{Slot, Pid} || [Slot, Pid] <- ets:match(?TABLE, {{worker, Pool, '$1'}, '$2'})]).

%% @doc The pool and slot of a worker process; `error' when it is none of ours.
-spec place(term()) -> {ok, {py_config:pool_name(), slot()}} | error.
place(Pid) ->
    try ets:lookup(?TABLE, {place, Pid}) of
        [{_, Pool, Slot}] -> {ok, {Pool, Slot}};
        [] -> error
    catch
        error:badarg -> error
    end.

%% @doc Counters of a pool that has no worker yet.
-spec new_load() -> load().
new_load() ->
    Most = py_pool_options:max_workers(),
    Load = atomics:new(5 * Most + 2, [{signed, true}]),
    [delete_slot(Load, Slot) || Slot <- lists:seq(1, Most)],
    Load.

%% @doc For a worker: how many calls it has in hand, and whether it can serve.
-spec report_load(load(), slot(), non_neg_integer(), Serving :: boolean()) -> ok.
report_load(Load, Slot, Calls, true) -> atomics:put(Load, Slot, Calls);
report_load(Load, Slot, Calls, false) -> atomics:put(Load, Slot, Calls + ?NOT_SERVING).

%% @doc For a worker: it serves from this time on (milliseconds of the monotonic clock).
-spec report_start(load(), slot(), integer()) -> ok.
report_start(Load, Slot, Ms) -> atomics:put(Load, py_pool_options:max_workers() + 1 + Slot, Ms).

%% @doc There is no worker in that slot any more.
-spec delete_slot(load(), slot()) -> ok.
delete_slot(Load, Slot) ->
    report_kept(Load, Slot, 0),
    report_beside(Load, Slot, 0),
    report_fill(Load, Slot, 0),
    atomics:put(Load, Slot, ?ABSENT).

%% @doc Whether a call that one worker of the pool gives back may go to another one: there is one, and the pool's scheduler does not
%% say which one it must be.
-spec shares_work(py_config:pool_name()) -> boolean().
shares_work(Pool) ->
    case persistent_term:get({?MODULE, Pool}, undefined) of
        #{size := Size, scheduler := Scheduler} when Size > 1 ->
            Scheduler =:= least_busy orelse Scheduler =:= random orelse Scheduler =:= round_robin;
        _ ->
            false
    end.

%% @doc For a worker: how many calls it could let go of.
-spec report_kept(load(), slot(), non_neg_integer()) -> ok.
report_kept(Load, Slot, 0) ->
    atomics:put(Load, kept_at(Slot), 0);
report_kept(Load, Slot, Count) ->
    %% In this order: who finds the hint taken back finds the number.
    atomics:put(Load, kept_at(Slot), Count),
    hint_kept(Load).

%% @doc Some worker could let go of a call.
-spec hint_kept(load()) -> ok.
hint_kept(Load) -> atomics:put(Load, kept_at(0), 1).

-spec is_any_kept(load()) -> boolean().
is_any_kept(Load) -> atomics:get(Load, kept_at(0)) =:= 1.

%% @doc Take the hint back, before one looks.
-spec forget_kept(load()) -> ok.
forget_kept(Load) -> atomics:put(Load, kept_at(0), 0).

%% @doc The slot below this size, and none of one's own, whose worker could let go of the most.
-spec most_kept(load(), slot(), Size :: slot()) -> {ok, slot()} | none.
most_kept(Load, Own, Size) ->
    case lists:max([{0, Own} | [{atomics:get(Load, kept_at(Slot)), Slot} || Slot <- lists:seq(1, Size), Slot =/= Own]]) of
        {0, _} -> none;
        {_, Slot} -> {ok, Slot}
    end.

%% @doc The slot whose worker serves and has the most in hand, if those are several.
-spec most_in_hand(load(), slot(), Size :: slot()) -> {ok, slot()} | none.
most_in_hand(Load, Own, Size) -> most_in_hand(Load, Own, Size, 1, none).

most_in_hand(_Load, _Own, 0, _Most, none) -> none;
most_in_hand(_Load, _Own, 0, _Most, Slot) -> {ok, Slot};
most_in_hand(Load, Own, Slot, Most, Found) ->
    case atomics:get(Load, Slot) of
        More when More > Most, More < ?NOT_SERVING, Slot =/= Own -> most_in_hand(Load, Own, Slot - 1, More, Slot);
        _ -> most_in_hand(Load, Own, Slot - 1, Most, Found)
    end.

%% @doc A slot up to this size, and none of one's own, whose worker serves and has nothing in hand.
-spec idle_slot(load(), slot(), Size :: slot()) -> {ok, slot()} | none.
idle_slot(_Load, _Own, 0) ->
    none;
idle_slot(Load, Own, Slot) ->
    case Slot =/= Own andalso atomics:get(Load, Slot) of
        0 -> {ok, Slot};
        _ -> idle_slot(Load, Own, Slot - 1)
    end.

%% @doc For a worker: how many of its calls run beside the others, and hold up none.
-spec report_beside(load(), slot(), non_neg_integer()) -> ok.
report_beside(Load, Slot, Calls) -> atomics:put(Load, beside_at(Slot), Calls).

beside_at(Slot) -> 3 * py_pool_options:max_workers() + 2 + Slot.

%% @doc For a worker: as long as it has fewer calls than this in hand it may have more, though others idle.
-spec report_fill(load(), slot(), non_neg_integer()) -> ok.
report_fill(Load, Slot, Calls) -> atomics:put(Load, fill_at(Slot), Calls).

-spec fill(load(), slot()) -> non_neg_integer().
fill(Load, Slot) -> atomics:get(Load, fill_at(Slot)).

%% @doc How many workers of a pool are woken before those that run are filled with tiny calls; 0 where none is filled.
-spec few(py_config:pool_name()) -> non_neg_integer().
few(Pool) ->
    case persistent_term:get({?MODULE, Pool}, undefined) of
        #{few := Few} -> Few;
        _ -> 0
    end.

fill_at(Slot) -> 4 * py_pool_options:max_workers() + 2 + Slot.

kept_at(Slot) -> 2 * py_pool_options:max_workers() + 2 + Slot.

%% @doc For a caller: one call more; how many that makes.
-spec take(load(), slot()) -> pos_integer().
take(Load, Slot) -> atomics:add_get(Load, Slot, 1) band (?NOT_SERVING - 1).

%% @doc For a caller: the first call of a worker that serves and has none. `false': it has one, or does not serve.
-spec take_idle(load(), slot()) -> boolean().
take_idle(Load, Slot) -> atomics:compare_exchange(Load, Slot, 0, 1) =:= ok.

-spec give_back(load(), slot()) -> ok.
give_back(Load, Slot) -> atomics:sub(Load, Slot, 1).

-spec beside(load(), slot()) -> non_neg_integer().
beside(Load, Slot) -> atomics:get(Load, beside_at(Slot)).

-spec in_hand(load(), slot()) -> non_neg_integer().
in_hand(Load, Slot) -> atomics:get(Load, Slot) band (?NOT_SERVING - 1).

%% @doc A number that grows by one with each turn.
-spec turn(load()) -> non_neg_integer().
turn(Load) -> atomics:add_get(Load, py_pool_options:max_workers() + 1, 1).

-spec is_serving(load(), slot()) -> boolean().
is_serving(Load, Slot) -> atomics:get(Load, Slot) < ?NOT_SERVING.

%% @doc Whether there is no worker in that slot, or one that is being taken away.
-spec is_absent(load(), slot()) -> boolean().
is_absent(Load, Slot) -> atomics:get(Load, Slot) >= ?ABSENT.

-spec started_at(load(), slot()) -> integer().
started_at(Load, Slot) -> atomics:get(Load, py_pool_options:max_workers() + 1 + Slot).
