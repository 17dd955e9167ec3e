%%% @doc Entities: functions, data items, artifacts and models of projects, as texts and contents that outlive the node. What they mean Python knows
%%% (`erl.functions'); here they appear and go, each at once and whole. See "Functions" in docs/architecture.md.
%%%
%%% ```
%%%   > place()                                                       < {ok, Directory}          where a content is written
%%%   > put(Project, Type, Name, Id, Text, Incoming)                  < ok                       Incoming: a directory there; <<>>: no content
%%%   > get(Project, Type, Name, Id)                                  < {ok, Id, Text, Content}  Id <<>>: the latest
%%%   > list(Project, Type, Name, IsLatest, After, Limit)             < {ok, [{Name, Id, Text}]} Name <<>>: of all names
%%%   > delete(Project, Type, Name, Id)                               < ok                       <<>>: all that is below
%%%   > projects()                                                    < {ok, [Project]}
%%%   > ask(Module, Function, Args)                                   < {ok, _} | {error, Kind, Text}
%%% '''
%%%
%%% A request is done by a process of its own, which is not linked to whoever asks: what has begun to appear appears.
%%% @private
-module(py_entity).

-export([ask/3, wanted/0, place/0, put/6, get/4, list/6, delete/4, projects/0]).

-type part() :: binary().
-type failure() :: {error, {py, py_error:reason()}}.

%% Who may call `ask' may call these, and nothing else of Erlang's.
-define(ASKED, [py_entity, py_env, py_function, py_run, py_service, py_service_sup]).
-define(MOST_PAGE, 1_000).
-define(MOST_PAGE_BYTES, 1 bsl 23).

%% @doc Call a function that answers `{ok, _}', `ok' or `{error, {py, _}}', for who has no use for terms: errors are their kind and their text.
-spec ask(module(), atom(), [term()]) -> {ok, term()} | {error, Kind :: binary(), Text :: binary()}.
ask(Module, Function, Args) ->
    lists:member(Module, ?ASKED) orelse error(badarg, [Module, Function, Args]),
    case apply(Module, Function, Args) of
        {error, {py, Reason} = Error} -> {error, kind(Reason), py_reason:utf8(py_error:text(Error))};
        {error, Other} -> {error, <<"other">>, py_reason:utf8(io_lib:format("~tP", [Other, 20]))};
        {ok, Value} -> {ok, Value};
        Value -> {ok, Value}
    end.

kind(Reason) when is_atom(Reason) -> atom_to_binary(Reason);
kind({state_dir, _, {locked, _}}) -> <<"locked">>;
kind(Reason) when is_tuple(Reason), is_atom(element(1, Reason)) -> atom_to_binary(element(1, Reason));
kind(_) -> <<"other">>.

%% @doc The directory that this node would have, which another one may have.
-spec wanted() -> binary().
wanted() ->
    case py_store:directory() of
        {error, _} -> <<>>;
        {_, Directory} -> py_store:bytes(Directory)
    end.

%% @doc Where a content is written that is to be an entity's; what nobody writes any more is deleted there.
-spec place() -> {ok, binary()} | failure().
place() -> ensured(fun py_entity_store:place/0).

%% @doc Have an entity appear. Errors: `{entity_exists, _}', `{entity, Text}' for a name or a text that can't be, and at a bound;
%% `{state_dir, Path, Why}'.
-spec put(part(), part(), part(), part(), iodata(), Incoming :: binary()) -> ok | failure().
put(Project, Type, Name, Id, Text, Incoming) -> ensured(fun() -> py_entity_store:put(Project, Type, Name, Id, Text, Incoming) end).

%% @doc What is said of an entity, and where its content lies.
-spec get(part(), part(), part(), part()) -> {ok, {Id :: binary(), Text :: binary(), Content :: binary()}} | failure().
get(Project, Type, Name, Id) -> ensured(fun() -> py_entity_store:get(Project, Type, Name, Id) end).

%% @doc The entities of a type, by name: the latest of each, or all versions in the order in which they were written; behind one, at most so many.
-spec list(part(), part(), part(), boolean(), After :: {part(), part()}, pos_integer()) ->
    {ok, [{Name :: binary(), Id :: binary(), Text :: binary() | undefined}]} | failure().
list(Project, Type, Name, IsLatest, After, Limit) when is_integer(Limit), Limit > 0 ->
    case py_entity_store:are_names([Project, Type | [Name || Name =/= <<>>]]) andalso loaded(Project) of
        {ok, Directory} -> {ok, page(py_entities:list({Project, Type, Name}, IsLatest, After, min(Limit, ?MOST_PAGE)), Directory, ?MOST_PAGE_BYTES)};
        false -> {ok, []};
        Error -> Error
    end.

page([], _Directory, _Bytes) ->
    [];
page(_, _Directory, Bytes) when Bytes =< 0 ->
    [];
page([{_, _, Name, Id} = Entity | Entities], Directory, Bytes) ->
    case py_entity_files:read(Entity, Directory) of
        {ok, Text} -> [{Name, Id, Text} | page(Entities, Directory, Bytes - byte_size(Text))];
        %% Deleted just now; it is where the next page begins, all the same.
        {error, enoent} -> [{Name, Id, undefined} | page(Entities, Directory, Bytes)];
        %% Unreadable, as one of no text is.
        {error, _} -> [{Name, Id, <<>>} | page(Entities, Directory, Bytes)]
    end.

%% @doc Have an entity go, all versions of a name, all of a project. Errors: `{unknown_entity, _}'.
-spec delete(part(), part(), part(), part()) -> ok | failure().
delete(Project, Type, Name, Id) -> ensured(fun() -> py_entity_store:delete(Project, Type, Name, Id) end).

%% @doc The names of the projects that there are.
-spec projects() -> {ok, [binary()]} | failure().
projects() ->
    case ensured(fun py_entities:directory/0) of
        {ok, Directory} -> {ok, py_entity_files:projects(Directory)};
        Error -> Error
    end.

loaded(Project) -> ensured(fun() -> py_entities:load(Project) end).

ensured(Do) ->
    case py_runs_sup:ensure() of
        ok -> Do();
        Error -> Error
    end.
