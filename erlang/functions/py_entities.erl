%%% @doc The index of entities: which there are, in the order in which they were written. A project's is made from its directories when it is
%%% first asked for; this process does that, one project at a time. The table is its supervisor's, and who makes an entity appear
%%% or go says so there itself.
%%% @private
-module(py_entities).
-behaviour(gen_server).

-export([start_link/1, new/0, directory/0, load/1, find/1, list/4, count/1, next_us/1, insert/2, below/1, forget/1]).
-export([init/1, handle_call/3, handle_cast/2]).
-export_type([entity/0]).

-type entity() :: {Project :: binary(), Type :: binary(), Name :: binary(), Id :: binary()}.

-define(TABLE, ?MODULE).
%% Behind every number, and before every binary.
-define(LAST, z).

%%  {{Project, Type, Name, StoredUs, Id}}, {{id, Entity}, StoredUs}, {{loaded, Project}, Directory}, {{count, Project}, Count}

-spec start_link(file:filename_all()) -> {ok, pid()} | {error, term()}.
start_link(Directory) ->
    py_predecessor:await_end(?MODULE),
    gen_server:start_link({local, ?MODULE}, ?MODULE, Directory, []).

%% @doc Make the table; it belongs to the calling process.
-spec new() -> ok.
new() ->
    ?TABLE = ets:new(?TABLE, [named_table, public, ordered_set, {read_concurrency, true}]),
    ok.

%% @doc The `state_dir' that this node has.
-spec directory() -> {ok, binary()} | {error, {py, py_error:reason()}}.
directory() -> asked(directory).

%% @doc Have a project's entities known; the `state_dir'.
-spec load(binary()) -> {ok, binary()} | {error, {py, py_error:reason()}}.
load(Project) ->
    case ets:lookup(?TABLE, {loaded, Project}) of
        [{_, Directory}] -> {ok, Directory};
        [] -> asked({load, Project})
    end.

asked(Request) ->
    try gen_server:call(?MODULE, Request, infinity)
    catch
        exit:{noproc, _} -> {error, {py, not_started}};
        exit:_ -> {error, {py, {entity, "the index of entities ended before it answered"}}}
    end.

-spec init(file:filename_all()) -> {ok, binary()}.
init(Directory) ->
    State = py_store:bytes(Directory),
    _ = spawn(fun() -> py_entity_files:sweep(py_entity_files:incoming(State)) end),
    {ok, State}.

-spec handle_call(term(), gen_server:from(), binary()) -> {reply, term(), binary()}.
handle_call(directory, _From, Directory) ->
    {reply, {ok, Directory}, Directory};
handle_call({load, Project}, _From, Directory) ->
    case ets:member(?TABLE, {loaded, Project}) of
        true -> ok;
        false ->
            lists:foreach(fun({Entity, Us}) -> insert(Entity, Us) end, py_entity_files:scan(Project, Directory)),
            ets:insert(?TABLE, {{loaded, Project}, Directory})
    end,
    {reply, {ok, Directory}, Directory};
handle_call(_Request, _From, Directory) ->
    {reply, {error, unknown_request}, Directory}.

-spec handle_cast(term(), binary()) -> {noreply, binary()}.
handle_cast(_Message, Directory) -> {noreply, Directory}.

%% @doc The id of an entity that there is, and when it was written; of `<<>>' the latest of the name.
-spec find(entity()) -> {ok, binary(), non_neg_integer()} | error.
find({Project, Type, Name, <<>>}) ->
    case ets:prev(?TABLE, {Project, Type, Name, ?LAST, <<>>}) of
        {Project, Type, Name, Us, Id} -> {ok, Id, Us};
        _ -> error
    end;
find({_, _, _, Id} = Entity) ->
    case ets:lookup(?TABLE, {id, Entity}) of
        [{_, Us}] -> {ok, Id, Us};
        [] -> error
    end.

%% @doc The latest of each name, or all versions; of all names where that is `<<>>'. Behind an entity, at most so many.
-spec list({binary(), binary(), binary()}, IsLatest :: boolean(), {binary(), binary()}, pos_integer()) -> [entity()].
list({Project, Type, Name}, true, {After, _}, Limit) ->
    latest({Project, Type, Name}, ets:next(?TABLE, beginning(Project, Type, Name, After)), Limit);
list({Project, Type, Name}, false, After, Limit) ->
    versions({Project, Type, Name}, ets:next(?TABLE, behind(Project, Type, Name, After)), Limit).

beginning(Project, Type, _Name, After) when After =/= <<>> -> {Project, Type, After, ?LAST, <<>>};
beginning(Project, Type, Name, <<>>) -> {Project, Type, Name, 0, <<>>}.

behind(Project, Type, Name, {<<>>, _}) ->
    {Project, Type, Name, 0, <<>>};
behind(Project, Type, _Name, {Name, Id}) ->
    case ets:lookup(?TABLE, {id, {Project, Type, Name, Id}}) of
        [{_, Us}] -> {Project, Type, Name, Us, Id};
        [] -> {Project, Type, Name, ?LAST, <<>>}
    end.

latest({Project, Type, Wanted} = Below, {Project, Type, Name, _, _}, Limit) when Limit > 0, Wanted =:= <<>> orelse Wanted =:= Name ->
    Behind = {Project, Type, Name, ?LAST, <<>>},
    case ets:prev(?TABLE, Behind) of
        {Project, Type, Name, _, Id} -> [{Project, Type, Name, Id} | latest(Below, ets:next(?TABLE, Behind), Limit - 1)];
        _ -> latest(Below, ets:next(?TABLE, Behind), Limit)
    end;
latest(_, _, _) ->
    [].

versions({Project, Type, Wanted} = Below, {Project, Type, Name, _, Id} = Key, Limit) when Limit > 0, Wanted =:= <<>> orelse Wanted =:= Name ->
    [{Project, Type, Name, Id} | versions(Below, ets:next(?TABLE, Key), Limit - 1)];
versions(_, _, _) ->
    [].

%% @doc How many entities a project has.
-spec count(binary()) -> non_neg_integer().
count(Project) ->
    case ets:lookup(?TABLE, {count, Project}) of
        [{_, Count}] -> Count;
        [] -> 0
    end.

%% @doc When the next version of a name is written: later than the ones before, whatever the clock says.
-spec next_us(entity()) -> pos_integer().
next_us({Project, Type, Name, _}) ->
    Now = erlang:system_time(microsecond),
    case ets:prev(?TABLE, {Project, Type, Name, ?LAST, <<>>}) of
        {Project, Type, Name, Us, _} -> max(Now, Us + 1);
        _ -> Now
    end.

%% @doc It is there, written then; the same one of another time is not any more.
-spec insert(entity(), non_neg_integer()) -> ok.
insert({Project, Type, Name, Id} = Entity, Us) ->
    forget([{Entity, Was} || {_, Was} <- ets:lookup(?TABLE, {id, Entity}), Was =/= Us]),
    ets:insert(?TABLE, {{id, Entity}, Us}),
    _ = ets:insert_new(?TABLE, {{Project, Type, Name, Us, Id}}) andalso ets:update_counter(?TABLE, {count, Project}, 1, {{count, Project}, 0}),
    ok.

%% @doc The entities of which that is one, or which are below where a part is `<<>>', and when they were written.
-spec below(entity()) -> [{entity(), non_neg_integer()}].
below({Project, Type, Name, Id}) ->
    Any = fun(<<>>) -> '_'; (Part) -> Part end,
    [
        {{Project, OfType, OfName, OfId}, Us}
     || {{_, OfType, OfName, Us, OfId}} <- ets:select(?TABLE, [{{{Project, Any(Type), Any(Name), '_', Any(Id)}}, [], ['$_']}])
    ].

%% @doc They are gone. One that was written again meanwhile is not.
-spec forget([{entity(), non_neg_integer()}]) -> ok.
forget(Gone) ->
    lists:foreach(
        fun({{Project, Type, Name, Id} = Entity, Us}) ->
            ets:delete_object(?TABLE, {{id, Entity}, Us}),
            _ = ets:take(?TABLE, {Project, Type, Name, Us, Id}) =/= [] andalso ets:update_counter(?TABLE, {count, Project}, -1, {{count, Project}, 1}),
            ok
        end,
        Gone
    ).
