%%% @doc The runs that are known, and in which order: what readers see, without asking a process.
%%%
%%% An index has a row for each run and state, project, function: as many rows are read as are wanted, however many runs there are. Ids begin
%%% with the time at which they were made, so that their order is the runs'.
%%% @private
-module(py_run_table).

-export([new/0, clear/0, replay/2, changed/2, is_read/0, read/0, new_id/1, put_run/1, find/1, current/2, first/2, delete/1, count/0, counts/0, list/1, newest/2, all/0, put_key/2]).
-export_type([filter/0]).

-define(TABLE, py_runs).
-define(INDEX, py_runs_index).
-define(KEYS, py_runs_keys).
-define(DEFAULT_LIMIT, 10_000).
-define(STATES, ['CREATED', 'PENDING', 'BUILDING', 'READY', 'RUNNING', 'COMPLETED', 'ERROR', 'STOPPED']).

-type filter() :: #{
    state => py_run_state:state() | [py_run_state:state()],
    project => binary(),
    function => binary(),
    limit => pos_integer(),
    'after' => py_run_state:id()
}.

%% @doc Make the tables; they belong to the calling process.
-spec new() -> ok.
new() ->
    %% Compressed a run takes 600 bytes, otherwise 1,400.
    _ = [ets:new(Name, [named_table, public, {read_concurrency, true} | Rest]) || {Name, Rest} <- [{?TABLE, [compressed]}, {?INDEX, [ordered_set]}, {?KEYS, []}]],
    ok.

-spec clear() -> ok.
clear() ->
    _ = [ets:delete_all_objects(Name) || Name <- [?TABLE, ?INDEX, ?KEYS]],
    ok.

%% @doc Take what a record of the journal says, and count it.
-spec replay(term(), Count) -> Count when Count :: non_neg_integer().
replay({Id, pruned}, Count) ->
    delete(Id),
    Count + 1;
replay({Id, Change}, Count) ->
    Before = case find(Id) of
        {ok, Run} -> Run;
        error -> {Id, new}
    end,
    try py_run_state:apply(Change, Before) of
        #{spec := Spec} = Next ->
            put_run(Next),
            is_map(Before) orelse put_key(Spec, Id)
    catch
        %% Of a run whose first record could not be read.
        error:_ -> ok
    end,
    Count + 1;
replay(_Other, Count) ->
    Count + 1.

%% @doc What changes that are not written make of runs, beside what is in the tables.
-spec changed({py_run_state:id(), [py_run_state:change() | pruned], term()}, Dirty) -> Dirty when
    Dirty :: #{py_run_state:id() => py_run_state:run() | pruned}.
changed({_, [], _}, Dirty) ->
    Dirty;
changed({Id, [pruned], _}, Dirty) ->
    Dirty#{Id => pruned};
changed({Id, Changes, _}, Dirty) ->
    case Dirty of
        #{Id := Run} when is_map(Run) -> Dirty#{Id := lists:foldl(fun py_run_state:apply/2, Run, Changes)};
        #{Id := pruned} -> Dirty;
        #{} ->
            case find(Id) of
                {ok, Run} -> Dirty#{Id => lists:foldl(fun py_run_state:apply/2, Run, Changes)};
                error -> Dirty
            end
    end.

%% @doc Whether all that was written is in the tables.
-spec is_read() -> boolean().
is_read() ->
    try
        ets:member(?KEYS, read)
    catch
        error:badarg -> false
    end.

%% @doc It is.
-spec read() -> true.
read() -> ets:insert(?KEYS, {read}).

%% @doc An id of its own: 12 digits of milliseconds, 8 that count those of one millisecond up, 12 that are drawn by lot.
-spec new_id(Ms :: integer()) -> py_run_state:id().
new_id(Ms) ->
    Count = erlang:unique_integer([monotonic, positive]),
    string:lowercase(binary:encode_hex(<<Ms:48, Count:32, (crypto:strong_rand_bytes(6))/binary>>)).

-spec put_run(py_run_state:run()) -> ok.
put_run(#{id := Id} = Run) ->
    Now = keys(Run),
    Before = case find(Id) of
        {ok, Old} -> keys(Old);
        error -> []
    end,
    ets:insert(?TABLE, {Id, Run}),
    case Now =:= Before of
        true -> ok;
        false ->
            ets:insert(?INDEX, [{Key} || Key <- Now]),
            lists:foreach(fun(Key) -> ets:delete(?INDEX, Key) end, Before -- Now)
    end.

keys(#{id := Id, state := State, spec := #{project := Project, function := Function}}) ->
    [{state, State, Id}, {project, Project, State, Id}, {function, Project, Function, State, Id}].

-spec find(py_run_state:id()) -> {ok, py_run_state:run()} | error.
find(Id) ->
    try
        {ok, ets:lookup_element(?TABLE, Id, 2)}
    catch
        error:badarg -> error
    end.

%% @doc A run with what was noted of it and is not written yet.
-spec current(py_run_state:id(), #{py_run_state:id() => py_run_state:run() | pruned}) -> {ok, py_run_state:run()} | error.
current(Id, Dirty) ->
    case Dirty of
        #{Id := pruned} -> error;
        #{Id := Run} -> {ok, Run};
        #{} -> find(Id)
    end.

%% @doc The run that is meant where another one with the same key is asked for. One that has failed or was stopped is in nobody's way.
-spec first(py_run_state:spec(), #{py_run_state:id() => py_run_state:run() | pruned}) -> {ok, py_run_state:run()} | error.
first(#{key := _} = Spec, Dirty) ->
    case [Known || {ok, Id} <- [id_by_key(Spec)], {ok, Known} <- [current(Id, Dirty)]] of
        [#{state := Was} = Known] when Was =/= 'ERROR', Was =/= 'STOPPED' -> {ok, Known};
        _ -> error
    end;
first(_Spec, _Dirty) ->
    error.

-spec delete(py_run_state:id()) -> ok.
delete(Id) ->
    case find(Id) of
        {ok, #{spec := Spec} = Run} ->
            lists:foreach(fun(Key) -> ets:delete(?INDEX, Key) end, keys(Run)),
            _ = [ets:delete_object(?KEYS, {Key, Id}) || Key <- key_of(Spec)],
            ets:delete(?TABLE, Id),
            ok;
        error ->
            ok
    end.

%% @doc This run has this key now.
-spec put_key(py_run_state:spec(), py_run_state:id()) -> ok.
put_key(Spec, Id) ->
    _ = [ets:insert(?KEYS, {Key, Id}) || Key <- key_of(Spec)],
    ok.

key_of(#{project := Project, key := Key}) -> [{Project, Key}];
key_of(_) -> [].

%% @doc The run that was given the key of this one last.
-spec id_by_key(py_run_state:spec()) -> {ok, py_run_state:id()} | error.
id_by_key(Spec) ->
    case [Id || Key <- key_of(Spec), {_, Id} <- ets:lookup(?KEYS, Key)] of
        [Id] -> {ok, Id};
        [] -> error
    end.

-spec count() -> non_neg_integer().
count() -> ets:info(?TABLE, size).

%% @doc How many there are in each state: the index is counted, no run is read.
-spec counts() -> #{py_run_state:state() => non_neg_integer()}.
counts() -> maps:from_list([{State, ets:select_count(?INDEX, [{{{state, State, '_'}}, [], [true]}])} || State <- ?STATES]).

-spec all() -> [py_run_state:run()].
all() -> [Run || {_, Run} <- lists:sort(ets:tab2list(?TABLE))].

%% @doc Those that a filter lets through, in the order in which they were made.
-spec list(filter()) -> [py_run_state:run()].
list(Filter) ->
    Limit = maps:get(limit, Filter, ?DEFAULT_LIMIT),
    After = maps:get('after', Filter, <<>>),
    Found = [walk(Prefix, After, Limit) || Prefix <- prefixes(Filter)],
    Ids = lists:sublist(lists:umerge(Found), Limit),
    Rest = maps:with([project, function], Filter),
    [Run || Id <- Ids, {ok, Run} <- [find(Id)], lets_through(Run, Rest)].

%% @doc Of those that a filter lets through the newest, at most `limit' that were made before this one, the newest first. A function is
%% looked for within its project.
-spec newest(filter(), Before :: py_run_state:id() | last) -> [py_run_state:run()].
newest(Filter, Before) ->
    Limit = maps:get(limit, Filter, ?DEFAULT_LIMIT),
    %% Ids are digits.
    Bound = if Before =:= last -> <<255>>; true -> Before end,
    Found = [back(Prefix, Bound, Limit) || Prefix <- prefixes(Filter)],
    Ids = lists:sublist(lists:reverse(lists:umerge(Found)), Limit),
    [Run || Id <- Ids, {ok, Run} <- [find(Id)]].

back(Prefix, Bound, Limit) -> back(ets:prev(?INDEX, erlang:append_element(Prefix, Bound)), Prefix, tuple_size(Prefix), Limit, []).

%% In the order in which they were made, as the others are.
back(Key, Prefix, Size, Left, Ids) when Left > 0, tuple_size(Key) =:= Size + 1 ->
    case erlang:delete_element(Size + 1, Key) of
        Prefix -> back(ets:prev(?INDEX, Key), Prefix, Size, Left - 1, [element(Size + 1, Key) | Ids]);
        _ -> Ids
    end;
back(_End, _Prefix, _Size, _Left, Ids) ->
    Ids.

states(#{state := States}) when is_list(States) -> States;
states(#{state := State}) -> [State];
states(_) -> ?STATES.

prefixes(#{project := Project, function := Function} = Filter) -> [{function, Project, Function, State} || State <- states(Filter)];
prefixes(#{project := Project} = Filter) -> [{project, Project, State} || State <- states(Filter)];
prefixes(Filter) -> [{state, State} || State <- states(Filter)].

%% A function of whatever project is looked for among all.
lets_through(#{spec := #{function := Function}}, #{function := Wanted}) -> Function =:= Wanted;
lets_through(_, _) -> true.

walk(Prefix, After, Limit) -> walk(ets:next(?INDEX, erlang:append_element(Prefix, After)), Prefix, tuple_size(Prefix), Limit, []).

walk(Key, Prefix, Size, Left, Ids) when Left > 0, tuple_size(Key) =:= Size + 1 ->
    case erlang:delete_element(Size + 1, Key) of
        Prefix -> walk(ets:next(?INDEX, Key), Prefix, Size, Left - 1, [element(Size + 1, Key) | Ids]);
        _ -> lists:reverse(Ids)
    end;
walk(_End, _Prefix, _Size, _Left, Ids) ->
    lists:reverse(Ids).
