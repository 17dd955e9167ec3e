%%% @doc Whose the files of shared memory are: the process that keeps the books and deletes what nobody owns.
%%%
%%% A file belongs to the processes that were given its term by a call, and goes with the last of them, or when it is freed. Where
%%% a result is kept for its owner by another process, that keeper owns it, and hands it on before it ends: so what is in a result
%%% that nobody takes goes with the keeper. What was in an answer that did not arrive is given back by the call's number. Who
%%% has made a file stands in its name (`py_shared' and Python's `erl.shared' say how): so what an interpreter has made, and
%%% nobody was told of, goes with the interpreter. What a name says of the size is counted, no more.
%%%
%%% The files are in the application's directory, so that all of them go with the application, and those of a BEAM that was
%%% killed at the next start. Should this process die, the pools are started again, and all files are gone.
%%% @private
-module(py_shared_owner).
-behaviour(gen_server).

-include_lib("kernel/include/file.hrl").

-export([start_link/0, place/1, own/3, disown/1, given/1, lost/1, kept/0, kept/1, ended/0, new/1, free/1, info/0, path/1, is_there/1]).
-export([init/1, handle_call/3, handle_cast/2, handle_info/2]).
-export_type([name/0, info/0]).

-type name() :: binary().
%% Of a file: its maker, a number, its size.
-type info() :: #{
    files := non_neg_integer(), bytes := non_neg_integer(), released_bytes := non_neg_integer(), max_bytes := non_neg_integer()
}.

-record(state, {
    max_bytes :: non_neg_integer(),
    maker :: binary(),
    next = 1 :: pos_integer(),
    %% Who owns each file, and what each owner has.
    files = #{} :: #{name() => #{pid() => true}},
    owners = #{} :: #{pid() => {py_transit:monitor() | away, #{name() => [claim()]}}},
    %% What the present interpreter of each worker process is called, and whether it has ended.
    makers = #{} :: #{pid() => {reference(), binary(), living | ended}},
    %% The process that looks who maps what, who waits for room until it ends, and who has asked since it began.
    look = none :: none | {reference(), [request()]},
    late = none :: none | [request()]
}).

-type request() :: {gen_server:from(), Bytes :: pos_integer(), Owner :: pid()}.

-type claim() :: {Call :: reference() | none, Heir :: pid() | none}.
%% The call that gave it, and who has it after this owner. Of a keeper there is one for each call that gave it, of others the first.

-define(DIRECTORY, "shm").
-define(MAKER_BYTES, 8).
%% An interpreter whose worker process was killed leaves within a second, and may make a file until then.
-define(LAST_FILE_MS, 2_000).
%% How long an owner on another node may be away, and how often it is looked for.
-define(AWAY_MS, 10_000).
-define(LOOK_MS, 500).
%% How often it is looked who still maps what, where nobody else says it, and how long that may take.
-define(MAPS_MS, 5_000).

-spec start_link() -> gen_server:start_ret().
start_link() ->
    py_predecessor:await_end(?MODULE),
    gen_server:start_link({local, ?MODULE}, ?MODULE, [], []).

%% @doc What the interpreter that the calling worker process is about to configure must know to share anything; `undefined'
%% where it must not. A sandboxed pool has no part in the files: what it is sent, it gets by value.
-spec place(py_config:pool()) ->
    #{directory := binary(), marks := binary(), maker := binary(), max_bytes := non_neg_integer(), node := node()}
    | undefined.
place(#{sandbox := Sandbox}) when Sandbox =/= none -> undefined;
place(_Config) -> gen_server:call(?MODULE, place, infinity).

%% @doc These files are `Owner''s, too, by the answer to this call; `nobody': they go unless somebody else owns them. For worker
%% processes, of which one that has no {@link place/1} has no say.
-spec own(py_owners:owner() | nobody, Call :: reference() | none, [name()]) -> ok.
own(Owner, Call, Names) -> gen_server:cast(?MODULE, {own, self(), Owner, Call, Names}).

%% @doc The calling process has no use for these files any more; they go unless somebody else owns them.
-spec disown([name()]) -> ok.
disown(Names) -> gen_server:cast(?MODULE, {disown, self(), Names}).

%% @doc The files that the calling process owns by the answer to this call, which it has, and how many bytes each of them has.
-spec given(Call :: reference()) -> [{name(), Bytes :: non_neg_integer()}].
given(Call) ->
    case ask({given, Call, self()}) of
        {error, not_started} -> [];
        Names -> [{Name, bytes(Name)} || Name <- Names]
    end.

bytes(Name) ->
    {ok, Path} = path(Name),
    case file:read_link_info(Path, [raw]) of
        {ok, #file_info{size = Size}} -> Size;
        {error, _} -> 0
    end.

%% @doc The answer to this call will not arrive, or has not: nobody owns anything by it.
-spec lost(Call :: reference()) -> ok.
lost(Call) -> gen_server:cast(?MODULE, {lost, Call}).

%% @doc The calling process is a keeper, and about to end: its owner has the results.
-spec kept() -> ok.
kept() -> gen_server:cast(?MODULE, {kept, self()}).

%% @doc The calling process is a keeper, and stays: its owner has the result of this call.
-spec kept(Call :: reference()) -> ok.
kept(Call) -> gen_server:cast(?MODULE, {kept, self(), Call}).

%% @doc The interpreter of the calling worker process has ended: what it has made and nobody owns is to go.
-spec ended() -> ok.
ended() -> gen_server:cast(?MODULE, {ended, self()}).

%% @doc A new, empty file that belongs to the calling process, with room for as many bytes within the limit.
-spec new(Bytes :: pos_integer()) -> {ok, name()} | {error, {shared_memory, string()} | not_started}.
new(Bytes) -> ask({new, Bytes, self()}).

%% @doc Delete a file, whoever owns it.
-spec free(name()) -> ok | {error, not_started}.
free(Name) -> ask({free, Name}).

%% @doc How many files there are, those that nobody owns yet among them; how many bytes are in use, and how many of those by what is
%% mapped after its release.
-spec info() -> info() | {error, not_started}.
info() -> ask(info).

ask(Request) ->
    try
        gen_server:call(?MODULE, Request, infinity)
    catch
        exit:_ -> {error, not_started}
    end.

%% @doc Where a file is; `error' for what can't be the name of one.
-spec path(term()) -> {ok, file:filename_all()} | error.
path(Name) ->
    case is_name(Name) of
        true -> {ok, filename:join(directory(), binary_to_list(Name))};
        false -> error
    end.

%% Looked at several times for each file: without an expression.
is_name(<<Maker:(2 * ?MAKER_BYTES)/binary, $-, Rest/binary>>) ->
    case binary:split(Rest, <<"-">>) of
        [Number, <<First, _/binary>> = Bytes] when First =/= $0 ->
            are(fun is_hex_digit/1, Maker, 2 * ?MAKER_BYTES) andalso are(fun is_digit/1, Number, 15) andalso are(fun is_digit/1, Bytes, 18);
        _ ->
            false
    end;
is_name(_) ->
    false.

are(Is, Characters, Most) ->
    Characters =/= <<>> andalso byte_size(Characters) =< Most andalso lists:all(Is, binary_to_list(Characters)).

is_digit(Character) -> Character >= $0 andalso Character =< $9.

is_hex_digit(Character) -> is_digit(Character) orelse Character >= $a andalso Character =< $f.

directory() -> py_directory:path(?DIRECTORY).

%%% The process

-spec init([]) -> {ok, #state{}}.
init([]) ->
    Directory = directory(),
    %% Of one before, if there was one.
    ok = py_directory:delete(Directory),
    ok = file:make_dir(Directory),
    _ = file:change_mode(Directory, 8#700),
    ok = py_shared_marks:make_directory(),
    _ = erlang:send_after(?MAPS_MS, self(), look),
    {ok, MaxBytes} = py_config:max_shared_bytes(),
    {ok, #state{max_bytes = MaxBytes, maker = new_maker()}}.

new_maker() -> string:lowercase(binary:encode_hex(crypto:strong_rand_bytes(?MAKER_BYTES))).

-spec handle_call(term(), gen_server:from(), #state{}) -> {reply, term(), #state{}} | {noreply, #state{}}.
handle_call(place, {Worker, _}, #state{makers = Makers, max_bytes = MaxBytes} = State) ->
    Maker = new_maker(),
    Monitor =
        case Makers of
            #{Worker := {Known, _, _}} -> Known;
            #{} -> monitor(process, Worker)
        end,
    Place = #{
        directory => unicode:characters_to_binary(directory()),
        marks => unicode:characters_to_binary(py_shared_marks:directory()),
        maker => Maker,
        max_bytes => MaxBytes,
        node => node()
    },
    {reply, Place, State#state{makers = Makers#{Worker => {Monitor, Maker, living}}}};
handle_call({new, Bytes, Owner}, From, State) ->
    {noreply, asked({From, Bytes, Owner}, true, State)};
handle_call({free, Name}, _From, State) ->
    {reply, ok, freed(Name, State)};
handle_call({given, Call, Owner}, _From, #state{owners = Owners} = State) ->
    {_, Claims} = maps:get(Owner, Owners, {none, #{}}),
    {reply, [Name || {Name, Of} <- maps:to_list(Claims), lists:keymember(Call, 1, Of)], State};
handle_call(info, _From, #state{max_bytes = MaxBytes} = State) ->
    Files = names(),
    {Used, Released} = in_use(Files),
    {reply, #{files => length(Files), bytes => Used, released_bytes => Released, max_bytes => MaxBytes}, State};
handle_call(_Request, _From, State) ->
    {reply, {error, unknown_request}, State}.

%% Whoever has died while it waited needs none.
asked({From, Bytes, Owner} = Request, MayLook, State) ->
    case is_process_alive(Owner) andalso made(Bytes, Owner, State) of
        false ->
            State;
        {ok, Name, Next} ->
            gen_server:reply(From, {ok, Name}),
            Next;
        full when MayLook ->
            looking([Request], State);
        full ->
            {Used, Released} = in_use(names()),
            gen_server:reply(From, {error, {shared_memory, no_room(Bytes, Used, Released, State#state.max_bytes)}}),
            State;
        {error, Text} ->
            gen_server:reply(From, {error, {shared_memory, Text}}),
            State
    end.

made(Bytes, Owner, #state{maker = Maker, next = Next, max_bytes = MaxBytes} = State) ->
    Name = iolist_to_binary(io_lib:format("~ts-~w-~w", [Maker, Next, Bytes])),
    {ok, Path} = path(Name),
    %% First made, then counted, as Python does it: no two see room for themselves that is there for one. Nobody else enters the
    %% directory, so it is closed as it is.
    case file:write_file(Path, <<>>, [raw, exclusive]) of
        ok ->
            case in_use(names()) of
                {Used, _} when Used =< MaxBytes ->
                    {ok, Name, owned(Owner, Name, {none, none}, State#state{next = Next + 1})};
                _ ->
                    delete(Name),
                    full
            end;
        {error, Reason} ->
            {error, file:format_error(Reason)}
    end.

%%% Looking who maps what

%% Who waits has the outcome of a look that began after it has asked.
looking(Requests, #state{look = none} = State) ->
    case py_shared_marks:left([Maker || {_, Maker, living} <- maps:values(State#state.makers)]) of
        [] -> lists:foldl(fun(Request, Acc) -> asked(Request, false, Acc) end, State, Requests);
        Left -> State#state{look = {begun(Left), Requests}}
    end;
looking(Requests, #state{late = none} = State) ->
    State#state{late = Requests};
looking(Requests, #state{late = Late} = State) ->
    State#state{late = Late ++ Requests}.

%% A process whose maps can't be read holds up nothing but the process that reads them.
begun(Left) ->
    {Looker, Monitor} = spawn_monitor(fun() -> py_shared_marks:look(Left) end),
    _ = erlang:send_after(?MAPS_MS, self(), {kill, Looker}),
    Monitor.

looked(Requests, #state{late = Late} = State) ->
    Told = lists:foldl(fun(Request, Acc) -> asked(Request, false, Acc) end, State#state{look = none, late = none}, Requests),
    case Late of
        none -> Told;
        _ -> looking(Late, Told)
    end.

-spec handle_cast(term(), #state{}) -> {noreply, #state{}}.
handle_cast({own, Worker, _, _, _}, #state{makers = Makers} = State) when not is_map_key(Worker, Makers) ->
    {noreply, State};
handle_cast({own, _, nobody, _, Names}, #state{files = Files} = State) ->
    _ = [delete(Name) || Name <- Names, not is_map_key(Name, Files)],
    {noreply, State};
handle_cast({own, _, {Heir, Keeper}, Call, Names}, State) ->
    {noreply, own_those_there(Keeper, Names, {Call, Heir}, State)};
handle_cast({own, _, Owner, Call, Names}, State) ->
    {noreply, own_those_there(Owner, Names, {Call, none}, State)};
handle_cast({disown, Owner, Names}, #state{owners = Owners} = State) ->
    {_, Claims} = maps:get(Owner, Owners, {none, #{}}),
    Give = fun(Name, #state{files = Files, owners = Before} = Acc) ->
        Acc#state{files = left(Owner, Name, Files), owners = without(Owner, Name, Before)}
    end,
    {noreply, lists:foldl(Give, State, [Name || Name <- lists:usort(Names), is_map_key(Name, Claims)])};
handle_cast({lost, Call}, #state{owners = Owners} = State) ->
    Given = [{Owner, Name} || {Owner, {_, Claims}} <- maps:to_list(Owners), {Name, Of} <- maps:to_list(Claims), lists:keymember(Call, 1, Of)],
    {noreply, lists:foldl(fun({Owner, Name}, Acc) -> given_back(Owner, Name, Call, Acc) end, State, Given)};
handle_cast({kept, Keeper, Call}, #state{owners = Owners} = State) ->
    {_, Claims} = maps:get(Keeper, Owners, {none, #{}}),
    Hand = fun({Name, Heir}, Acc) -> given_back(Keeper, Name, Call, owned(Heir, Name, {none, none}, Acc)) end,
    Given = [{Name, Heir} || {Name, Of} <- maps:to_list(Claims), {By, Heir} <- Of, By =:= Call, is_pid(Heir)],
    {noreply, lists:foldl(Hand, State, Given)};
handle_cast({kept, Keeper}, State) ->
    {noreply, handed_on(Keeper, State)};
handle_cast({ended, Worker}, #state{makers = Makers} = State) ->
    case Makers of
        #{Worker := {Monitor, Maker, _}} ->
            sweep(Maker, State),
            {noreply, looking([], State#state{makers = Makers#{Worker := {Monitor, Maker, ended}}})};
        #{} ->
            {noreply, State}
    end;
handle_cast(_Message, State) ->
    {noreply, State}.

-spec handle_info(term(), #state{}) -> {noreply, #state{}}.
handle_info({'DOWN', Monitor, process, _, _}, #state{look = {Monitor, Requests}} = State) ->
    {noreply, looked(Requests, State)};
handle_info({'DOWN', _, process, Pid, Reason}, #state{makers = Makers} = State) ->
    case maps:take(Pid, Makers) of
        {{_, Maker, _}, Left} ->
            sweep(Maker, State),
            _ = erlang:send_after(?LAST_FILE_MS, self(), {sweep, Maker}),
            {noreply, looking([], ended(Pid, Reason, State#state{makers = Left}))};
        error when Reason =:= noconnection, node(Pid) =/= node() ->
            {noreply, away(Pid, py_deadline:after_ms(?AWAY_MS), State)};
        error ->
            {noreply, ended(Pid, Reason, State)}
    end;
handle_info({away, Owner, Until}, State) ->
    {noreply, looked_for(Owner, Until, State)};
handle_info({delete, Name}, State) ->
    delete(Name),
    {noreply, State};
handle_info({sweep, Maker}, State) ->
    sweep(Maker, State),
    {noreply, looking([], State)};
handle_info(look, State) ->
    _ = erlang:send_after(?MAPS_MS, self(), look),
    {noreply, looking([], State)};
handle_info({kill, Looker}, State) ->
    exit(Looker, kill),
    {noreply, State};
handle_info(_Message, State) ->
    {noreply, State}.

%%% The books

%% What was freed meanwhile is not there, and neither is what a worker made up.
own_those_there(Owner, Names, Claim, #state{files = Files} = State) ->
    There = [Name || Name <- Names, is_map_key(Name, Files) orelse is_there(Name)],
    lists:foldl(fun(Name, Acc) -> owned(Owner, Name, Claim, Acc) end, State, There).

%% Who owns it already, owns it whatever becomes of this call.
owned(Owner, Name, Claim, #state{files = Files, owners = Owners} = State) ->
    {Monitor, Claims} =
        case Owners of
            #{Owner := Known} -> Known;
            #{} -> {py_transit:monitor(Owner), #{}}
        end,
    State#state{
        files = Files#{Name => (maps:get(Name, Files, #{}))#{Owner => true}},
        owners = Owners#{Owner => {Monitor, Claims#{Name => claimed(Claim, maps:get(Name, Claims, []))}}}
    }.

claimed(Claim, []) -> [Claim];
claimed({Call, Heir}, Before) when is_pid(Heir) -> lists:keystore(Call, 1, Before, {Call, Heir});
claimed(_Claim, Before) -> Before.

%% The connection to the node of an owner is lost, perhaps for a moment only. It keeps what it has until it is found, or has been away for
%% long; that it has ended meanwhile its new monitor says.
away(Owner, Until, #state{owners = Owners} = State) ->
    case Owners of
        #{Owner := {_, Claims}} ->
            _ = erlang:send_after(?LOOK_MS, self(), {away, Owner, Until}),
            State#state{owners = Owners#{Owner := {away, Claims}}};
        #{} ->
            State
    end.

looked_for(Owner, Until, #state{owners = Owners} = State) ->
    case {Owners, lists:member(node(Owner), nodes(connected)), py_deadline:is_over(Until)} of
        {#{Owner := {away, Claims}}, true, _} -> State#state{owners = Owners#{Owner := {py_transit:monitor(Owner), Claims}}};
        {#{Owner := {away, _}}, false, false} -> away(Owner, Until, State);
        {#{Owner := {away, _}}, false, true} -> disowned(Owner, State);
        _ -> State
    end.

%% A process has ended: what it alone owned goes. A keeper of another node can't say in time that its owner has the results.
ended(Pid, Reason, State) when node(Pid) =/= node(), Reason =:= normal orelse Reason =:= noproc ->
    disowned(Pid, handed_on(Pid, State));
ended(Pid, _Reason, State) ->
    disowned(Pid, State).

disowned(Owner, #state{files = Files, owners = Owners} = State) ->
    case maps:take(Owner, Owners) of
        {{_, Claims}, Left} ->
            Kept = lists:foldl(fun(Name, Acc) -> left(Owner, Name, Acc) end, Files, maps:keys(Claims)),
            %% One that was killed in the middle of opening its file may make it anew.
            _ = [again(Name) || Name <- maps:keys(Claims), not is_map_key(Name, Kept), is_made_by(State#state.maker, Name)],
            State#state{owners = Left, files = Kept};
        error ->
            State
    end.

again(Name) -> erlang:send_after(?LAST_FILE_MS, self(), {delete, Name}).

handed_on(Keeper, #state{owners = Owners} = State) ->
    {_, Claims} = maps:get(Keeper, Owners, {none, #{}}),
    Give = fun
        ({Name, Heir}, Acc) when is_pid(Heir) -> owned(Heir, Name, {none, none}, Acc);
        (_, Acc) -> Acc
    end,
    lists:foldl(Give, State, [{Name, Heir} || {Name, Of} <- maps:to_list(Claims), {_, Heir} <- Of]).

%% What the owner has by another call, too, it has still.
given_back(Owner, Name, Call, #state{files = Files, owners = Owners} = State) ->
    #{Owner := {Monitor, #{Name := Of} = Claims}} = Owners,
    case lists:keydelete(Call, 1, Of) of
        [] -> State#state{files = left(Owner, Name, Files), owners = without(Owner, Name, Owners)};
        Left -> State#state{owners = Owners#{Owner := {Monitor, Claims#{Name := Left}}}}
    end.

left(Owner, Name, Files) ->
    case maps:remove(Owner, maps:get(Name, Files)) of
        Others when map_size(Others) =:= 0 ->
            delete(Name),
            maps:remove(Name, Files);
        Others ->
            Files#{Name := Others}
    end.

freed(Name, #state{files = Files, owners = Owners} = State) ->
    delete(Name),
    Had = maps:keys(maps:get(Name, Files, #{})),
    State#state{
        files = maps:remove(Name, Files),
        owners = lists:foldl(fun(Owner, Acc) -> without(Owner, Name, Acc) end, Owners, Had)
    }.

without(Owner, Name, Owners) ->
    #{Owner := {Monitor, Claims}} = Owners,
    case maps:remove(Name, Claims) of
        Left when map_size(Left) =:= 0 ->
            Monitor =:= away orelse py_transit:demonitor(Monitor),
            maps:remove(Owner, Owners);
        Left ->
            Owners#{Owner := {Monitor, Left}}
    end.

%% What an interpreter has made and nobody owns.
sweep(Maker, #state{files = Files}) ->
    lists:foreach(fun delete/1, [
        Name
     || Name <- names(), is_made_by(Maker, Name), not is_map_key(Name, Files)
    ]).

is_made_by(Maker, Name) -> binary:longest_common_prefix([Name, Maker]) =:= byte_size(Maker).

%%% The files

%% What else an interpreter has put there is none of them.
names() ->
    case file:list_dir_all(directory()) of
        {ok, Names} -> [Bytes || Name <- Names, Bytes <- [unicode:characters_to_binary(Name)], is_name(Bytes)];
        {error, _} -> []
    end.

%% Of these files and of those that something maps after their release, which are counted later: of what is freed meanwhile there is a
%% mark.
in_use(Files) ->
    Released =
        case py_shared_marks:files() of
            [] -> 0;
            Mapped -> lists:sum([size_of(Name) || Name <- Mapped -- Files, is_name(Name)])
        end,
    {lists:sum([size_of(Name) || Name <- Files]) + Released, Released}.

%% For each file of the directory whenever one is made: no more is looked at than what is needed.
size_of(Name) ->
    [_Maker, _Number, Bytes] = binary:split(Name, <<"-">>, [global]),
    binary_to_integer(Bytes).

%% @doc Whether there is a file of that name.
-spec is_there(term()) -> boolean().
is_there(Name) ->
    case path(Name) of
        {ok, Path} -> is_file(Path);
        error -> false
    end.

%% No link, no directory, and nothing that who opens it would wait for.
is_file(Path) ->
    case file:read_link_info(Path, [raw]) of
        {ok, #file_info{type = regular}} -> true;
        _ -> false
    end.

delete(Name) ->
    case path(Name) of
        {ok, Path} ->
            _ = file:delete(Path, [raw]),
            ok;
        error ->
            ok
    end.

no_room(Bytes, Used, Released, MaxBytes) ->
    Format = "no room for ~w bytes of shared memory: max_shared_bytes is ~w, ~w are in use",
    lists:flatten([io_lib:format(Format, [Bytes, MaxBytes, Used]), still_mapped(Released)]).

still_mapped(0) -> "";
still_mapped(Bytes) -> io_lib:format(", ~w of them still mapped after their release", [Bytes]).
