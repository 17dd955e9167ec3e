%%% @doc Which runs wait for which pool, and which worker has one. Queues are pools: a run waits for a worker that serves and has none, or
%%% fewer than the pool has threads.
%%% @private
-module(py_run_queues).

-export([new/0, in/3, out/2, ids/2, drop/2, given/3, released/2, pools/1, waiting/1, poll/1, polled/1, threads/1]).
-export_type([queues/0]).

-record(queues, {
    waiting = #{} :: #{Pool :: binary() => queue:queue(py_run_state:id())},
    %% How many runs a worker has, and of which project the last one was.
    busy = #{} :: #{pid() => pos_integer()},
    projects = #{} :: #{pid() => alone | binary()},
    is_polling = false :: boolean()
}).
-opaque queues() :: #queues{}.

-spec new() -> queues().
new() -> #queues{}.

-spec in(Pool :: binary(), py_run_state:id(), queues()) -> queues().
in(Pool, Id, #queues{waiting = Waiting} = Queues) ->
    Queues#queues{waiting = Waiting#{Pool => queue:in(Id, maps:get(Pool, Waiting, queue:new()))}}.

%% @doc The first run of a pool and the worker that may have it; `none': there is no worker.
-spec out(Pool :: binary(), queues()) -> empty | {none, queues()} | {py_run_state:id(), py_config:pool_name(), pid(), queues()}.
out(Pool, #queues{waiting = Waiting} = Queues) ->
    case Waiting of
        #{Pool := Queue} ->
            case worker(Pool, Queues) of
                {ok, Name, Worker} ->
                    {{value, Id}, Left} = queue:out(Queue),
                    {Id, Name, Worker, Queues#queues{waiting = left(Pool, Left, Waiting)}};
                none ->
                    {none, Queues}
            end;
        #{} ->
            empty
    end.

left(Pool, Queue, Waiting) ->
    case queue:is_empty(Queue) of
        true -> maps:remove(Pool, Waiting);
        false -> Waiting#{Pool := Queue}
    end.

%% @doc The runs that wait for a pool.
-spec ids(Pool :: binary(), queues()) -> [py_run_state:id()].
ids(Pool, #queues{waiting = Waiting}) ->
    case Waiting of
        #{Pool := Queue} -> queue:to_list(Queue);
        #{} -> []
    end.

%% @doc None waits for it any more.
-spec drop(Pool :: binary(), queues()) -> queues().
drop(Pool, #queues{waiting = Waiting} = Queues) -> Queues#queues{waiting = maps:remove(Pool, Waiting)}.

%% That with the least to do: other calls may be in hand there, too.
worker(Pool, #queues{busy = Busy}) ->
    case found(Pool) of
        {ok, Name, #{load := Load, size := Size}} ->
            Threads = threads(Name),
            Free = [
                {maps:get(Worker, Busy, 0), py_registry:in_hand(Load, Slot), Worker}
             || Slot <- lists:seq(1, Size), py_registry:is_serving(Load, Slot), {ok, Worker} <- [py_registry:worker(Name, Slot)],
                maps:get(Worker, Busy, 0) < Threads
            ],
            case Free of
                [] -> none;
                _ -> {_, _, Worker} = lists:min(Free), {ok, Name, Worker}
            end;
        none ->
            none
    end.

found(Pool) ->
    case name(Pool) of
        {ok, Name} ->
            case py_registry:pool(Name) of
                {ok, Found} -> {ok, Name, Found};
                {error, _} -> none
            end;
        error -> none
    end.

name(<<"env:", _/binary>> = Pool) ->
    py_env_pools:name(Pool);
name(Pool) ->
    try {ok, binary_to_existing_atom(Pool)}
    catch error:badarg -> error
    end.

%% @doc How many calls a worker of a pool runs at once.
-spec threads(py_config:pool_name()) -> pos_integer().
threads(Name) ->
    case lists:keyfind(Name, 1, py_registry:configs()) of
        {_, #{threads := Threads}} -> Threads;
        _ -> 1
    end.

%% @doc A worker has a run of this project, or one that is `alone' in its Python; whether it needs another Python first: for one that is
%% alone, or after a run of another project. After one that was alone it has another one already.
-spec given(pid(), Project :: alone | binary(), queues()) -> {IsFresh :: boolean(), queues()}.
given(Worker, Project, #queues{busy = Busy, projects = Projects} = Queues) ->
    IsFresh = case maps:get(Worker, Projects, alone) of
        alone -> Project =:= alone;
        Before -> Before =/= Project
    end,
    Alive = case map_size(Projects) > 2_000 of
        true -> maps:filter(fun(Pid, _) -> is_process_alive(Pid) end, Projects);
        false -> Projects
    end,
    {IsFresh, Queues#queues{busy = Busy#{Worker => maps:get(Worker, Busy, 0) + 1}, projects = Alive#{Worker => Project}}}.

%% @doc It has one less.
-spec released(none | pid(), queues()) -> queues().
released(Worker, #queues{busy = Busy} = Queues) ->
    case Busy of
        #{Worker := 1} -> Queues#queues{busy = maps:remove(Worker, Busy)};
        #{Worker := Count} -> Queues#queues{busy = Busy#{Worker := Count - 1}};
        #{} -> Queues
    end.

%% @doc The pools that runs wait for.
-spec pools(queues()) -> [binary()].
pools(#queues{waiting = Waiting}) -> maps:keys(Waiting).

%% @doc How many runs wait for each.
-spec waiting(queues()) -> #{binary() => pos_integer()}.
waiting(#queues{waiting = Waiting}) -> maps:map(fun(_, Queue) -> queue:len(Queue) end, Waiting).

%% @doc Whether it is time to set a timer for another look.
-spec poll(queues()) -> {true, queues()} | false.
poll(#queues{is_polling = true}) -> false;
poll(#queues{waiting = Waiting}) when map_size(Waiting) =:= 0 -> false;
poll(Queues) -> {true, Queues#queues{is_polling = true}}.

%% @doc It has run out.
-spec polled(queues()) -> queues().
polled(Queues) -> Queues#queues{is_polling = false}.
