%%% @doc The store of entities: each appears, is found and goes, at once and whole. Who calls has the server of runs started, or is its own.
%%% See {@link py_entity}, and "Functions" in docs/architecture.md.
%%% @private
-module(py_entity_store).

-export([place/0, put/6, get/4, delete/4, are_names/1]).

-type part() :: binary().
-type failure() :: {error, {py, py_error:reason()}}.

-define(MOST_TEXT_BYTES, 1 bsl 20).
-define(MOST_ENTITIES, 100_000).
-define(MOST_PROJECTS, 10_000).
%% Somebody may delete the last of a name just then.
-define(TRIES, 20).
-define(NO_NAME, "a name matches [a-z0-9][a-z0-9-]{0,62}").

%% @doc Where a content is written that is to be an entity's; what nobody writes any more is deleted there.
-spec place() -> {ok, binary()} | failure().
place() ->
    case py_entities:directory() of
        {ok, Directory} ->
            Place = py_entity_files:incoming(Directory),
            py_entity_files:sweep(Place),
            case py_store:ensure(Place) of
                ok -> {ok, Place};
                {error, Reason} -> py_store:unusable(Directory, Reason)
            end;
        Error ->
            Error
    end.

%% @doc Have an entity appear. Errors: `{entity_exists, _}', `{entity, Text}' for a name or a text that can't be, and at a bound;
%% `{state_dir, Path, Why}'.
-spec put(part(), part(), part(), part(), iodata(), Incoming :: binary()) -> ok | failure().
put(Project, Type, Name, Id, Text, Incoming) ->
    Entity = {Project, Type, Name, Id},
    Said = iolist_to_binary(Text),
    case {are_names([Project, Type, Name, Id]), byte_size(Said)} of
        {false, _} ->
            {error, {py, {entity, ?NO_NAME ++ ", and a project is none of lock, key, journal, runs, envs, incoming, secrets"}}};
        {true, Bytes} when Bytes > ?MOST_TEXT_BYTES ->
            {error, {py, {entity, "what is said of an entity has at most 1 MiB"}}};
        {true, _} ->
            with(Project, fun(Directory) -> put_new(Entity, Said, Incoming, Directory) end)
    end.

put_new({Project, _, _, _} = Entity, Text, Incoming, Directory) ->
    case py_entities:count(Project) of
        Count when Count >= ?MOST_ENTITIES ->
            {error, {py, {entity, "a project has at most 100,000 entities: delete some"}}};
        Count ->
            case Count > 0 orelse is_room(Directory) of
                true -> put_stored(Entity, Text, Incoming, Directory);
                false -> {error, {py, {entity, "there are 10,000 projects: delete some"}}}
            end
    end.

is_room(Directory) ->
    case file:list_dir(Directory) of
        {ok, Names} -> length(Names) < ?MOST_PROJECTS;
        {error, _} -> true
    end.

put_stored(Entity, Text, Incoming, Directory) ->
    Us = py_entities:next_us(Entity),
    case py_entity_files:put(Entity, Us, Text, Incoming, Directory, ?TRIES) of
        ok -> py_entities:insert(Entity, Us);
        %% Who has written it may not have said so to the index yet.
        {error, eexist} ->
            _ = [py_entities:insert(Entity, Then) || {ok, Then} <- [py_entity_files:stored_us(Entity, Directory)]],
            {error, {py, {entity_exists, Entity}}};
        {error, {text, Why}} -> {error, {py, {entity, Why}}};
        {error, Reason} -> py_store:unusable(Directory, Reason)
    end.

%% @doc What is said of an entity, and where its content lies.
-spec get(part(), part(), part(), part()) -> {ok, {Id :: binary(), Text :: binary(), Content :: binary()}} | failure().
get(Project, Type, Name, Id) ->
    Unknown = {error, {py, {unknown_entity, {Project, Type, Name, Id}}}},
    case are_names([Project, Type, Name | [Id || Id =/= <<>>]]) andalso py_entities:load(Project) of
        {ok, Directory} ->
            case latest_read({Project, Type, Name, Id}, Directory) of
                error -> Unknown;
                Answer -> Answer
            end;
        false -> Unknown;
        Error -> Error
    end.

latest_read({Project, Type, Name, Id} = Entity, Directory) ->
    case py_entities:find(Entity) of
        {ok, Found, Us} ->
            This = {Project, Type, Name, Found},
            case py_entity_files:read(This, Directory) of
                {ok, Text} ->
                    {ok, {Found, Text, py_entity_files:content(This, Directory)}};
                %% Deleted by somebody, or while it appeared.
                {error, enoent} ->
                    py_entities:forget([{This, Us}]),
                    if Id =:= <<>> -> latest_read(Entity, Directory); true -> error end;
                {error, Reason} ->
                    py_store:unusable(Directory, Reason)
            end;
        error ->
            error
    end.

%% @doc Have an entity go, all versions of a name, all of a project. Errors: `{unknown_entity, _}'.
-spec delete(part(), part(), part(), part()) -> ok | failure().
delete(Project, Type, Name, Id) ->
    Unknown = {error, {py, {unknown_entity, {Project, Type, Name, Id}}}},
    case are_names([Project | [Part || Part <- [Type, Name, Id], Part =/= <<>>]]) of
        true -> with(Project, fun(Directory) -> gone({Project, Type, Name, Id}, Directory, Unknown) end);
        false -> Unknown
    end.

gone({_, Type, Name, Id} = Entity, Directory, Unknown) ->
    Parts = lists:takewhile(fun(Part) -> Part =/= <<>> end, tuple_to_list(Entity)),
    Id =:= <<>> orelse (Name =/= <<>> andalso Type =/= <<>>) orelse error(badarg, [Entity]),
    Below = py_entities:below(Entity),
    case py_entity_files:delete(Parts, Directory) of
        ok -> py_entities:forget(Below);
        {error, enoent} -> py_entities:forget(Below), Unknown;
        {error, Reason} -> py_store:unusable(Directory, Reason)
    end.

%% @doc Whether an entity may be called so: its project, and what else is said of it.
-spec are_names([part()]) -> boolean().
are_names([Project | _] = Parts) -> py_store:is_project(Project) andalso lists:all(fun py_store:is_name/1, Parts).

%% In a process of its own, which is not linked to whoever asks.
with(Project, Do) ->
    case py_entities:load(Project) of
        {ok, Directory} ->
            Alias = alias([reply]),
            {Pid, Monitor} = spawn_monitor(fun() -> Alias ! {Alias, Do(Directory)} end),
            receive
                {Alias, Answer} -> demonitor(Monitor, [flush]), Answer;
                {'DOWN', Monitor, process, Pid, Reason} -> {error, {py, {entity, lists:flatten(io_lib:format("an error where it was kept: ~tP", [Reason, 20]))}}}
            end;
        Error ->
            Error
    end.
