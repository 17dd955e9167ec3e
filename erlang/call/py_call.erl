%%% @doc One call, from the API's arguments to a result or an error: which shapes there are, and what each stands for.
%%%
%%% The functions below take the API function's arguments as a list, which is also what the shell shows when the call fails. Where
%%% a call runs is `py_route''s.
%%% @private
-module(py_call).

-export([func/2, method/2, attr/2, const/2, pycall/2]).
-export([builtin/2, builtin/3, operator/2, object/2, named/4]).
-export([release/2, cast/2, with_worker/2, target/1]).

-type args() :: [term()].
-type target() :: {py_term:target(), Function :: term(), args(), [{binary(), term()}], Options :: term()}.
%% What a call names, without what is not there: `undefined' for a function, no arguments, no keywords, no options.

%%% The API's shapes

%% @doc A function of a module, a dotted path or a callable: `[Module, Function | Rest]' or `[Target | Rest]'.
-spec func(func | init, args()) -> term().
%% What nearly all calls are: nothing is taken apart and put together again.
func(Api, [Module, Function, Args, Options] = All) when
    is_map(Options), is_atom(Module), is_atom(Function), length(Args) >= 0
->
    wrapped(call, [Module, Function, Args, []], Options, 4, {Api, All});
func(Api, [Module, Function, Args] = All) when is_atom(Module), is_atom(Function), length(Args) >= 0 ->
    wrapped(call, [Module, Function, Args, []], #{}, 3, {Api, All});
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
%% A stream may be one of a list's items.
target({Of, [Name | _]} = Api) when is_list(Name), Of =/= stream ->
    no_name(1, Api);
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

%% @doc `[Path]', `[Path, Options]', `[Module, Name]', `[Module, Name, Options]' or `[Module, Name, Type]'; and `[Object, Type]', as in LFE py:
%% what the object's `__type__()' gives.
-spec const(const, args()) -> term().
const(const = Api, [Object, Type] = All) when
    not (is_atom(Object) orelse is_binary(Object) orelse is_list(Object)), is_atom(Type) andalso Type =/= undefined
->
    wrapped(method, [Object, <<"__", (atom_to_binary(Type))/binary, "__">>, [], []], #{}, length(All), {Api, All});
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
    Mapped = is_map(Options) andalso map_size(maps:without(py_call_options:places(), Options)) > 0,
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

%% @doc A function of `erl.calls.objects' that is no builtin of Python's.
-spec object(atom(), args()) -> term().
object(Name, Args) -> named(Name, 'erl.calls.objects', Name, Args).

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
    case py_worker:cast(Worker, Message) of
        ok -> ok;
        {error, Reason} -> {error, {py, Reason}}
    end;
cast(cast, [Worker, Message]) when is_pid(Worker) ->
    case py_registry:place(Worker) of
        {ok, _} -> py_worker:cast(Worker, Message);
        error -> {error, {py, {unknown_worker, Worker}}}
    end;
cast(cast, [Name, Message]) when is_atom(Name) ->
    case py_route:pick(Name) of
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
    {Args, keywords(Keywords, Position + 1, Api), Options};
arguments([Name | _], Position, Api) ->
    is_name(Name, Position, Api),
    no_name(Position - 1, Api).

options([]) -> #{};
options([Options]) -> Options.

is_name(Name, _, _) when is_atom(Name); is_binary(Name) -> ok;
is_name(_, Position, Api) -> no_name(Position, Api).

-spec no_name(pos_integer(), py_error:api()) -> no_return().
no_name(Position, Api) -> py_error:badarg(Position, "must be a name: an atom or a binary", Api).

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
    case py_call_options:check(Options) of
        {ok, Checked} ->
            case py_route:perform(Entry, Args, Checked, self()) of
                {ok, Value} -> Value;
                {error, Error} -> py_error:raise(Error, Api)
            end;
        {error, Problem} ->
            Hint =
                case Problem of
                    {unknown_option, _, _} -> "; keywords as a map need an options map after them (#{} will do)";
                    _ -> ""
                end,
            py_error:badarg(Position, [py_options:describe(Problem), Hint], Api)
    end.

%% @doc Run `Fun' with its calls that name no worker all on one: in the process that calls this, on the pool of that worker.
-spec with_worker(with_worker, [fun(() -> Result) | py_config:pool_name()]) -> Result.
with_worker(with_worker = Api, [Pool, Fun] = Args) ->
    is_atom(Pool) orelse py_error:badarg(1, "must be the name of a pool, an atom", {Api, Args}),
    is_function(Fun, 0) orelse py_error:badarg(2, "must be a function without arguments", {Api, Args}),
    case py_route:pick(Pool) of
        {ok, Worker} -> py_route:pinned(Pool, Worker, Fun);
        {error, Reason} -> py_error:raise({py, Reason}, {Api, Args})
    end.
