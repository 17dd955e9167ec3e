%%% @doc Which worker gets a call: the choice, made by the caller's process, without asking another.
%%%
%%% The caller reads the counters in the pool's `atomics' array, chooses a slot and adds one; the worker process writes the
%%% true number when it has the call, and when it answers. So a caller that dies in between leaves nothing behind.
%%%
%%% A worker that can't serve is passed over as long as another can. Where none can, the call goes to one that will be able
%%% to soon, and waits there.
%%% @private
-module(py_scheduler).

-export([pick/2, most_behind_one/1, hand/1, few/2]).
-export_type([candidate/0]).

-type candidate() :: #{worker := pid(), in_flight := non_neg_integer(), started_ms := integer()}.
%% What a scheduler of the user's chooses from: the workers that can serve. `started_ms' is of the monotonic clock.

-define(FEW_CALLS, 100).

%% @doc How many calls a worker of this pool may have in hand behind one: as many as may wait, and those that may run with it.
%% Where any number of coroutines may, each worker tells how many there are.
-spec most_behind_one(py_config:pool()) -> non_neg_integer() | infinity.
most_behind_one(#{max_queue := infinity}) -> infinity;
most_behind_one(#{max_queue := Most, threads := Threads, coroutines := infinity}) -> Most + Threads - 1;
most_behind_one(#{max_queue := Most, threads := Threads, coroutines := Coroutines}) -> Most + Threads + Coroutines - 2.

%% @doc How many tasks of unknown length a dispatcher gives a worker of this pool: one for each thread, and one that is at hand when the
%% first of them is over. One that is replaced after a few calls is given no more than it may begin.
-spec hand(py_config:pool()) -> pos_integer().
hand(#{max_calls := Few}) when is_integer(Few), Few =< ?FEW_CALLS -> 1;
hand(#{threads := Threads}) -> Threads + 1.

%% @doc How many workers of this pool, that has so many, are woken before those that run are filled with tiny calls: as many as there are
%% processors. 0: none is filled, where that is no fewer, or where a full queue is an error.
-spec few(py_config:pool(), Workers :: non_neg_integer()) -> non_neg_integer().
few(#{max_queue := infinity, threads := 1, scheduler := least_busy}, Workers) ->
    case erlang:system_info(schedulers_online) of
        Few when Few < Workers -> Few;
        _ -> 0
    end;
few(_Config, _Workers) ->
    0.

%% @doc The worker that gets the next call. `overload': all that could take it have their queues full. `{scheduler, Term}':
%% the user's scheduler returned that, which is no worker of the pool, or failed with it.
-spec pick(py_config:pool_name(), py_registry:pool()) ->
    {ok, pid()} | {error, {worker_down, restarting} | overload | {scheduler, term()} | {unknown_pool, term()}}.
%% Each of its workers is somebody's, who names it.
pick(Name, #{scheduler := none}) ->
    {error, {unknown_pool, Name}};
pick(Name, #{load := Load, size := Size, scheduler := {Module, Function}} = Pool) ->
    case candidates(Name, Load, Size) of
        [] -> pick(Name, Pool#{scheduler := least_busy});
        Candidates -> user_choice(Module, Function, Name, Candidates, Pool)
    end;
pick(Name, #{scheduler := least_busy, load := Load, size := 1, max_queue := infinity} = Pool) ->
    %% No choice.
    case take(Name, Load, 1, atomics:get(Load, 1), infinity) of
        taken -> pick(Name, Pool);
        Taken -> Taken
    end;
pick(Name, #{load := Load, size := Size, scheduler := least_busy, max_queue := Most, few := Few} = Pool) ->
    {Slot, InHand} = if Few =:= 0 -> least_busy(Load, Size); true -> few(Load, Size, 1, Few, {1, infinity}) end,
    case take(Name, Load, Slot, InHand, Most) of
        taken ->
            pick(Name, Pool);
        {error, {worker_down, _}} = Error ->
            %% It may have been taken away since; the choice of an empty slot means that all are.
            case py_registry:is_absent(Load, Slot) andalso not py_registry:is_absent(Load, element(1, least_busy(Load, Size))) of
                true -> pick(Name, Pool);
                false -> Error
            end;
        Taken ->
            Taken
    end;
pick(Name, #{load := Load, size := Size, scheduler := Scheduler, max_queue := Most} = Pool) ->
    case take(Name, Load, choose(Scheduler, Load, Size), Most) of
        {ok, _} = Taken -> Taken;
        %% Another one may have room.
        {error, _} -> pick(Name, Pool#{scheduler := least_busy})
    end.

%% Of callers that see the same worker idle at the same time one gets it: for the others it is `taken', and they look again.
take(Name, Load, Slot, 0, _Most) ->
    case py_registry:worker(Name, Slot) of
        {ok, Worker} ->
            case py_registry:take_idle(Load, Slot) of
                true -> {ok, Worker};
                false -> taken
            end;
        error ->
            {error, {worker_down, restarting}}
    end;
take(Name, Load, Slot, _InHand, Most) ->
    take(Name, Load, Slot, Most).

take(Name, Load, Slot, Most) ->
    case py_registry:worker(Name, Slot) of
        {ok, Worker} ->
            InHand = py_registry:take(Load, Slot),
            case Most =:= infinity orelse InHand - 1 =< Most orelse InHand - 1 - py_registry:beside(Load, Slot) =< Most of
                true ->
                    {ok, Worker};
                false ->
                    py_registry:give_back(Load, Slot),
                    py_figures:count(overload, 1, py_registry:figures(Name, Slot)),
                    py_events:emit([queue, full], #{waiting => InHand - 2}, #{pool => Name}),
                    {error, overload}
            end;
        error ->
            {error, {worker_down, restarting}}
    end.

least_busy(Load, Size) -> least_busy(Load, Size, 1, 1, atomics:get(Load, 1)).

least_busy(_Load, _Size, _Slot, Best, 0) ->
    {Best, 0};
least_busy(Load, Size, Slot, Best, Least) when Slot < Size ->
    case atomics:get(Load, Slot + 1) of
        Less when Less < Least -> least_busy(Load, Size, Slot + 1, Slot + 1, Less);
        _ -> least_busy(Load, Size, Slot + 1, Best, Least)
    end;
least_busy(_Load, _Size, _Slot, Best, Least) ->
    {Best, Least}.

%% As many workers as there are processors run and may have more: the one of them with the least to do. Otherwise one that idles.
few(Load, Size, Slot, _Few, _Best) when Slot > Size ->
    least_busy(Load, Size);
few(Load, Size, Slot, Few, {_, Least} = Best) ->
    case atomics:get(Load, Slot) of
        0 ->
            {Slot, 0};
        InHand ->
            case InHand < py_registry:fill(Load, Slot) of
                false -> few(Load, Size, Slot + 1, Few, Best);
                true when Few =:= 1, InHand < Least -> {Slot, InHand};
                true when Few =:= 1 -> Best;
                true when InHand < Least -> few(Load, Size, Slot + 1, Few - 1, {Slot, InHand});
                true -> few(Load, Size, Slot + 1, Few - 1, Best)
            end
    end.

choose(random, Load, Size) -> first_serving(Load, Size, rand:uniform(Size), Size);
choose(round_robin, Load, Size) -> first_serving(Load, Size, 1 + py_registry:turn(Load) rem Size, Size);
choose(first, Load, Size) -> first_serving(Load, Size, 1, Size);
choose(oldest, Load, Size) -> by_age(fun erlang:'<'/2, Load, Size);
choose(youngest, Load, Size) -> by_age(fun erlang:'>'/2, Load, Size).

%% The slot itself when none serves.
first_serving(_Load, _Size, Slot, 0) ->
    Slot;
first_serving(Load, Size, Slot, Left) ->
    case py_registry:is_serving(Load, Slot) of
        true -> Slot;
        false -> first_serving(Load, Size, 1 + Slot rem Size, Left - 1)
    end.

by_age(Before, Load, Size) ->
    case serving(Load, Size) of
        [] -> 1;
        [First | Rest] -> lists:foldl(fun(Slot, Best) -> earlier(Before, Load, Slot, Best) end, First, Rest)
    end.

earlier(Before, Load, Slot, Best) ->
    case Before(py_registry:started_at(Load, Slot), py_registry:started_at(Load, Best)) of
        true -> Slot;
        false -> Best
    end.

serving(Load, Size) -> [Slot || Slot <- lists:seq(1, Size), py_registry:is_serving(Load, Slot)].

candidates(Name, Load, Size) ->
    [
        {Slot, #{worker => Worker, in_flight => py_registry:in_hand(Load, Slot), started_ms => py_registry:started_at(Load, Slot)}}
     || Slot <- serving(Load, Size), {ok, Worker} <- [py_registry:worker(Name, Slot)]
    ].

%% The one place that catches whatever the user's scheduler throws: it belongs to the caller.
user_choice(Module, Function, Name, Candidates, #{load := Load, max_queue := Most}) ->
    try Module:Function(Name, [Candidate || {_, Candidate} <- Candidates]) of
        Chosen ->
            case [Slot || {Slot, #{worker := Worker}} <- Candidates, Worker =:= Chosen] of
                [Slot] -> take(Name, Load, Slot, Most);
                [] -> {error, {scheduler, Chosen}}
            end
    catch
        Class:Reason -> {error, {scheduler, {Class, Reason}}}
    end.
