%%% @doc One call, from the API's arguments to a result or an error.
%%%
%%% The caller's process does all of it but the routing: it checks the arguments, encodes them (before a worker is taken),
%%% looks for references in what it has encoded, picks a worker, waits, and decodes the answer. The functions below take the API
%%% function's arguments as a list, which is also what the shell shows when the call fails.
-module(py_call).

-export([func/2, method/2, attr/2, const/2, pycall/2]).
-export([builtin/2, builtin/3, operator/2, object/2, named/4]).
-export([release/2, cast/2, target/1, perform/4, with_worker/2]).

-type args() :: [term()].
-type target() :: {py:target(), Function :: term(), args(), [{binary(), term()}], Options :: term()}.
%% What a call names, without what is not there: `undefined' for a function, no arguments, no keywords, no options.

%% In the dictionary of a process that keeps to one worker: it and its pool.
-define(PINNED, '$py_worker').

%%% The API's shapes

%% @doc A function of a module, a dotted path or a callable: `[Module, Function | Rest]' or `[Target | Rest]'.
-spec func(func | init, args()) -> term().
func(Api, All) ->
    {Target, Function, Args, Keywords, Options} = target({Api, All}),
    wrapped(call, [Target, Function, Args, Keywords], Options, length(All), {Api, All}).

%% @doc The shapes of {@link func/2} taken apart; the options are still to be checked.
-spec target(py_error:api()) -> target().
target({_, [Module, Function | Rest]} = Api) when
    is_atom(Module) orelse is_binary(Module), is_atom(Function) orelse is_binary(Function)
->
    {Args, Keywords, Options} = arguments(Rest, 3, Api),
    {Module, Function, Args, Keywords, Options};
target({_, [Target | Rest]} = Api) ->
    {Args, Keywords, Options} = arguments(Rest, 2, Api),
    {Target, undefined, Args, Keywords, Options}.

%% @doc `[Object, Name | Rest]'.
-spec method(method, args()) -> term().
method(method = Api, [Object, Name | Rest] = All) ->
    is_name(Name, 2, {Api, All}),
    {Args, Keywords, Options} = arguments(Rest, 3, {Api, All}),
    wrapped(method, [Object, Name, Args, Keywords], Options, length(All), {Api, All}).

%% @doc `[Object, Name]' or `[Object, Name, Options]'.
-spec attr(attr, args()) -> term().
attr(attr = Api, [Object, Name | Rest] = All) ->
    is_name(Name, 2, {Api, All}),
    wrapped(attr, [Object, Name], options(Rest), 3, {Api, All}).

%% @doc `[Path]', `[Path, Options]', `[Module, Name]', `[Module, Name, Options]' or `[Module, Name, Type]'.
-spec const(const, args()) -> term().
const(const = Api, [Module | Rest] = All) ->
    is_name(Module, 1, {Api, All}),
    {Name, Type, Options} =
        case Rest of
            [] -> {undefined, undefined, #{}};
            [#{} = O] -> {undefined, undefined, O};
            [N] -> {N, undefined, #{}};
            [N, #{} = O] -> {N, undefined, O};
            [N, T] -> {N, T, #{}}
        end,
    is_name(Name, 2, {Api, All}),
    is_name(Type, 3, {Api, All}),
    wrapped(const, [Module, Name, Type], Options, length(All), {Api, All}).

%% @doc ErlPort's call as it is: `[Module, Function]', `[.., Args]', `[.., Args, Options]'. With no option that changes the
%% mapping it is ErlPort's message on the wire, too.
-spec pycall(pycall, args()) -> term().
pycall(pycall = Api, [Module, Function | Rest] = All) ->
    is_name(Module, 1, {Api, All}),
    is_name(Function, 2, {Api, All}),
    {Args, Options} =
        case Rest of
            [] -> {[], #{}};
            [#{} = O] -> {[], O};
            [A] -> {A, #{}};
            [A, O] -> {A, O}
        end,
    is_arguments(Args, 3, {Api, All}),
    Mapped = is_map(Options) andalso map_size(maps:without(py_config:places(), Options)) > 0,
    case is_raw_name(Module) andalso is_raw_name(Function) andalso not Mapped of
        true ->
            run({raw, Module, Function}, Args, Options, length(All), {Api, All});
        false ->
            Raw = maps:merge(#{binaries => bytes}, map_or(Options)),
            wrapped(call, [Module, Function, Args, []], Raw, length(All), {Api, All})
    end.

%% These three atoms are no names in Python but values; a message that they head is none of ErlPort's.
is_raw_name(Name) -> is_atom(Name) andalso not lists:member(Name, [undefined, true, false]).

%% What is no map is refused where the options are checked.
map_or(Options) when is_map(Options) -> Options;
map_or(Options) -> #{invalid => Options}.

%% @doc A function of Python's `builtins', under the API's name for it.
-spec builtin(atom(), args()) -> term().
builtin(Name, Args) -> named(Name, builtins, Name, Args).

%% @doc The same where the last argument may be keywords.
-spec builtin(atom(), args(), Last :: term()) -> term().
builtin(Name, Args, Last) ->
    Api = {Name, Args ++ [Last]},
    case py_term:is_keywords(Last) of
        true ->
            {ok, Keywords} = py_term:keywords(Last),
            wrapped(call, [builtins, Name, Args, Keywords], #{}, 1, Api);
        false ->
            named(Name, builtins, Name, Args ++ [Last])
    end.

%% @doc A function of Python's `operator'.
-spec operator(atom(), args()) -> term().
operator(Name, Args) -> named(Name, operator, Name, Args).

%% @doc A function of `erl.objects' that is no builtin of Python's.
-spec object(atom(), args()) -> term().
object(Name, Args) -> named(Name, 'erl.objects', Name, Args).

%% @doc A function whose name in Python differs from the API's.
-spec named(Api :: atom(), module(), atom(), args()) -> term().
named(Api, Module, Name, Args) -> wrapped(call, [Module, Name, Args, []], #{}, 1, {Api, Args}).

%% @doc Forget one reference or a list of them, and free shared memory. References whose worker is gone are gone already.
-spec release(release, args()) -> ok.
release(release = Api, [Reference] = All) ->
    References =
        case Reference of
            List when is_list(List) -> List;
            _ -> [Reference]
        end,
    lists:all(fun(Each) -> py_term:is_ref(Each) orelse py_term:is_shm(Each) end, References) orelse
        py_error:badarg(1, "must be a reference, shared memory or a list of them", {Api, All}),
    lists:foreach(
        fun
            ({_, Worker, Incarnation, Id}) -> py_worker:release(Worker, Incarnation, [Id]);
            ({_, _} = Shm) -> py_shared:free(Shm)
        end,
        References
    ).

%% @doc A message for the handler of a worker, or of one worker of a pool.
-spec cast(cast, args()) -> ok | {error, {py, term()}}.
cast(cast, [Worker, Message]) when is_pid(Worker), node(Worker) =/= node() ->
    py_worker:cast(Worker, Message);
cast(cast, [Worker, Message]) when is_pid(Worker) ->
    case py_table:place(Worker) of
        {ok, _} -> py_worker:cast(Worker, Message);
        error -> {error, {py, {unknown_worker, Worker}}}
    end;
cast(cast, [Name, Message]) when is_atom(Name) ->
    case pinned_or_picked(Name) of
        {ok, Worker} -> py_worker:cast(Worker, Message);
        {error, Reason} -> {error, {py, Reason}}
    end;
cast(cast, Args) ->
    py_error:badarg(1, "must be the pid of a worker or the name of a pool", {cast, Args}).

%%% Arguments

arguments([], _, _) ->
    {[], [], #{}};
arguments([#{} = Options], _, _) ->
    {[], [], Options};
arguments([Args], Position, Api) ->
    is_arguments(Args, Position, Api),
    {Args, [], #{}};
arguments([Args, #{} = Options], Position, Api) ->
    is_arguments(Args, Position, Api),
    {Args, [], Options};
arguments([Args, Keywords], Position, Api) ->
    is_arguments(Args, Position, Api),
    {Args, keywords(Keywords, Position + 1, Api), #{}};
arguments([Args, Keywords, Options], Position, Api) ->
    is_arguments(Args, Position, Api),
    {Args, keywords(Keywords, Position + 1, Api), Options}.

options([]) -> #{};
options([Options]) -> Options.

is_name(Name, _, _) when is_atom(Name); is_binary(Name) -> ok;
is_name(_, Position, Api) -> py_error:badarg(Position, "must be a name: an atom or a binary", Api).

is_arguments(Args, _, _) when length(Args) >= 0 -> ok;
is_arguments(_, Position, Api) -> py_error:badarg(Position, "must be the list of arguments", Api).

keywords(Keywords, Position, Api) ->
    case py_term:keywords(Keywords) of
        {ok, List} -> List;
        error -> py_error:badarg(Position, "must be keywords: a list of {Name, Value} or a map", Api)
    end.

%%% The call

wrapped(Entry, Args, Options, Position, Api) -> run({wrapper, Entry}, Args, Options, Position, Api).

run(Entry, Args, Options, Position, Api) ->
    case py_config:call(Options) of
        {ok, Checked} ->
            case perform(Entry, Args, Checked, self()) of
                {ok, Value} -> Value;
                {error, Error} -> py_error:raise(Error, Api)
            end;
        {error, Problem} ->
            Hint =
                case Problem of
                    {unknown_option, _, _} -> "; keywords as a map need an options map after them (#{} will do)";
                    _ -> ""
                end,
            py_error:badarg(Position, [py_config:describe(Problem), Hint], Api)
    end.

%% @doc Run `Fun' with its calls that name no worker all on one: in the process that calls this, on the pool of that worker.
-spec with_worker(with_worker, [fun(() -> Result) | py_config:pool_name()]) -> Result.
with_worker(with_worker = Api, [Pool, Fun] = Args) ->
    is_atom(Pool) orelse py_error:badarg(1, "must be the name of a pool, an atom", {Api, Args}),
    is_function(Fun, 0) orelse py_error:badarg(2, "must be a function without arguments", {Api, Args}),
    Before = get(?PINNED),
    case pinned_or_picked(Pool) of
        {ok, Worker} ->
            put(?PINNED, {Pool, Worker}),
            try
                Fun()
            after
                case Before of
                    undefined -> erase(?PINNED);
                    _ -> put(?PINNED, Before)
                end
            end;
        {error, Reason} ->
            py_error:raise({py, Reason}, {Api, Args})
    end.

pinned_or_picked(Name) ->
    case py_table:pool(Name) of
        {ok, Pool} -> chosen(Name, Pool, #{});
        {error, _} = Error -> Error
    end.

%% @doc A checked call, here or on the node that its options name. For {@link run/5}, for features, and for other nodes.
-spec perform({wrapper, atom()} | {raw, atom(), atom()}, args(), py_config:call_options(), Owner :: pid()) ->
    {ok, term()} | {error, term()}.
perform(Entry, Args, Options, Owner) ->
    case py_events:is_on() of
        false -> attempt(Entry, Args, Options, Owner);
        true -> observed(Entry, Args, Options, Owner)
    end.

observed(Entry, Args, Options, Owner) ->
    Metadata = #{pool => pool_name(Options), call => Entry, args => Args, options => Options},
    py_events:emit([call, start], #{system_time => erlang:system_time()}, Metadata),
    Start = erlang:monotonic_time(),
    Result = attempt(Entry, Args, Options, Owner),
    Duration = #{duration => erlang:monotonic_time() - Start},
    case Result of
        {ok, _} -> py_events:emit([call, stop], Duration, Metadata);
        {error, Error} -> py_events:emit([call, exception], Duration, Metadata#{error => Error})
    end,
    Result.

attempt(Entry, Args, #{node := Node} = Options, Owner) when Node =/= node() ->
    remote(Node, Entry, Args, Options, Owner);
attempt(Entry, Args, #{worker := Worker} = Options, Owner) when node(Worker) =/= node() ->
    remote(node(Worker), Entry, Args, Options, Owner);
attempt(Entry, Args, #{scope := cluster} = Options, Owner) ->
    Name = pool_name(Options),
    case get(?PINNED) of
        {Name, _} ->
            attempt(Entry, Args, Options#{scope := local}, Owner);
        _ ->
            Deadline = deadline(maps:get(timeout, Options, infinity)),
            anywhere(Entry, Args, maps:without([scope, timeout], Options), Owner, Deadline, [], none)
    end;
attempt(Entry, Args, Options, Owner) ->
    Name = pool_name(Options),
    case py_table:pool(Name) of
        {ok, #{timeout := Default, mapping := Mapping} = Pool} ->
            Deadline = deadline(maps:get(timeout, Options, Default)),
            Body = body(Entry, Args, Mapping, Options),
            case worker(Body, Args, Name, Pool, Options) of
                {ok, Worker} ->
                    case exchange(Worker, Body, Deadline, Owner) of
                        moved ->
                            py_events:emit([call, retry], #{}, #{pool => Name}),
                            attempt(Entry, Args, Options#{timeout => time_left(Deadline)}, Owner);
                        {error, {py, {Where, _}}} = Error when Where =:= elsewhere; Where =:= no_shared_memory ->
                            by_value(Entry, Args, Options, Deadline, Owner, Error);
                        Result -> Result
                    end;
                {pool, Other} ->
                    attempt(Entry, Args, Options#{pool => Other}, Owner);
                {remote, Node} ->
                    remote(Node, Entry, Args, Options, Owner);
                {error, Reason} ->
                    {error, {py, Reason}}
            end;
        {error, Reason} ->
            {error, {py, Reason}}
    end.

%% The worker can't map what the arguments have in shared memory of another node, or in any: it gets the bytes. Where they have
%% none of that kind, the function has run and failed so itself; where they have some, it has not.
by_value(Entry, Args, Options, Deadline, Owner, {error, {py, {Where, _}}} = Error) ->
    case py_shared:by_value(Where, Args, time_left(Deadline)) of
        unchanged -> Error;
        {ok, Values} -> attempt(Entry, Values, Options#{timeout => time_left(Deadline)}, Owner);
        {error, Reason} -> {error, {py, Reason}}
    end.

remote(Node, Entry, Args, Options, Owner) ->
    There = maps:without([node, scope], Options),
    Perform = {?MODULE, perform, [Entry, Args, There, Owner]},
    case py_remote:call(Node, maps:get(pool, Options, default), Perform, maps:get(timeout, Options, infinity)) of
        {ok, Result} -> Result;
        {error, Reason} -> {error, {py, Reason}}
    end.

%% The node with the least to do, and where that does not take the call, the next one. `Before' is why the last did not.
anywhere(Entry, Args, Options, Owner, Deadline, Without, Before) ->
    case py_nodes:pick(pool_name(Options), Without) of
        {ok, Node} ->
            Timed = timed(Options, Deadline),
            case attempt(Entry, Args, Timed#{node => Node}, Owner) of
                {error, {py, Reason}} = Error ->
                    case is_refusal(Reason) of
                        true -> anywhere(Entry, Args, Options, Owner, Deadline, [Node | Without], Reason);
                        false -> Error
                    end;
                Result ->
                    Result
            end;
        %% Known nowhere: what is wrong here says why.
        none when Without =:= [] ->
            attempt(Entry, Args, timed(Options, Deadline), Owner);
        none ->
            {error, {py, Before}}
    end.

timed(Options, infinity) -> Options;
timed(Options, Deadline) -> Options#{timeout => time_left(Deadline)}.

%% Nothing was begun.
is_refusal(not_started) -> true;
is_refusal({unknown_pool, _}) -> true;
is_refusal(overload) -> true;
is_refusal(_) -> false.

pool_name(#{pool := Name}) -> Name;
pool_name(#{worker := Worker}) ->
    case py_table:place(Worker) of
        {ok, {Name, _}} -> Name;
        error -> default
    end;
pool_name(_) -> default.

body({raw, Module, Function}, Args, _Mapping, _Options) ->
    py_wire:body(Module, Function, Args);
body({wrapper, Entry}, Args, Mapping, Options) ->
    py_wire:body('erl.objects', Entry, [py_term:flags(maps:merge(Mapping, Options)) | Args]).

%% A call that holds references goes where they are.
worker(Body, Args, Name, Pool, Options) ->
    case py_wire:mentions(Body, py_term:reference_shape()) of
        true ->
            case lists:usort([Worker || {_, Worker, _, _} <- py_term:references(Args)]) of
                [] -> chosen(Name, Pool, Options);
                [Worker] -> home(Worker, Args, Name, Options);
                _ -> {error, {stale_reference, "references of several workers can't meet in one call"}}
            end;
        false ->
            chosen(Name, Pool, Options)
    end.

home(Worker, _Args, _Name, _Options) when node(Worker) =/= node() -> {remote, node(Worker)};
home(Worker, _Args, _Name, #{worker := Other}) when Other =/= Worker ->
    {error, {stale_reference, "the reference belongs to another worker than the call's worker option names"}};
%% Where the call names no pool, timeout and mapping are those of the reference's.
home(Worker, Args, Name, Options) ->
    case py_table:place(Worker) of
        {ok, {Other, _}} when Other =/= Name, not is_map_key(pool, Options) -> {pool, Other};
        {ok, _} -> {ok, Worker};
        error -> {error, {stale_reference, hd(py_term:references(Args))}}
    end.

chosen(_Name, _Pool, #{worker := Worker}) ->
    case py_table:place(Worker) of
        {ok, _} -> {ok, Worker};
        error -> {error, {unknown_worker, Worker}}
    end;
chosen(Name, Pool, _Options) ->
    case get(?PINNED) of
        {Name, Worker} -> chosen(Name, Pool, #{worker => Worker});
        _ -> py_scheduler:pick(Name, Pool)
    end.

%% `moved': Python has not begun it, and this worker will not have it run.
exchange(Worker, Body, Deadline, Owner) ->
    case py_worker:call(Worker, Body, time_left(Deadline), Owner) of
        {ok, Frame, Budget} ->
            case py_guard:is_bearable(Frame) of
                true -> guarded(py_wire:answer(Frame, Budget), Worker, Frame, Budget);
                false -> {error, {py, {encode, "the answer of a sandboxed Python has more terms than are let in"}}}
            end;
        {ok, Frame} ->
            case py_wire:answer(Frame) of
                {ok, Value} ->
                    {ok, Value};
                {error, Error} ->
                    {error, py_error:from_python(Error)};
                {refused, Text} ->
                    {error, {py, {encode, Text}}};
                error ->
                    py_worker:distrust(Worker, Frame),
                    {error, {py, {protocol, unreadable_answer}}}
            end;
        {error, moved} ->
            moved;
        {error, Reason} ->
            {error, {py, Reason}}
    end.

%% What a sandboxed Python has answered.
guarded({ok, Value}, Worker, _Frame, _Budget) ->
    case py_guard:value(Value, Worker) of
        ok -> {ok, Value};
        {refused, Text} -> {error, {py, {encode, Text}}}
    end;
guarded({error, Error}, _Worker, _Frame, Budget) ->
    case py_guard:failure(Error, Budget) of
        {python, _, _, _} = Python -> {error, py_error:from_python(Python)};
        Other -> {error, Other}
    end;
guarded({refused, Text}, _Worker, _Frame, _Budget) ->
    {error, {py, {encode, Text}}};
guarded(error, Worker, Frame, _Budget) ->
    py_worker:distrust(Worker, Frame),
    {error, {py, {protocol, unreadable_answer}}}.

deadline(infinity) -> infinity;
deadline(Timeout) -> erlang:monotonic_time(millisecond) + Timeout.

time_left(infinity) -> infinity;
time_left(Deadline) -> max(0, Deadline - erlang:monotonic_time(millisecond)).
