%%% @doc Calls at the same time: what their arguments may be, and which workers they use.
%%%
%%% The functions take the API function's arguments as a list, as those of {@link py_call} do. The calls themselves are
%%% {@link py_async}'s, or {@link py_chunks}' where a list is worked on in chunks.
%%% @private
-module(py_parallel).

-export([call_all/2, call_n/2, async/2, scatter/2, await/2, yield/2, gather/2, gather_all/2, fold_done/2, cancel/2]).
-export([pmap/2, pfold/2, preduce/2, pmap_reduce/2]).
-export([call/1, timeout/3]).
%% For other nodes.
-export([loaded/1]).

-type args() :: [term()].
-type outcome() :: {ok, term()} | {error, term()}.

%% A node that has stopped answering must not keep those that do.
-define(ANSWER_MS, 2_000).

%%% Calls

%% @doc `[Module, Function, Args]' or `[Module, Function, Args, Options]': one call on every worker.
-spec call_all(call_all, args()) -> [{Worker :: pid(), outcome()}].
call_all(Name, [Module, Function, Args | Rest] = All) ->
    Api = {Name, All},
    is_target(Module, Function, 1, Api),
    is_arguments(Args, 3, Api),
    Options = free_options(Rest, 4, Api),
    on_each(present(Options, Api), Module, Function, Args, Options).

%% @doc `[Count, Module, Function, Args]' or `[Count, Module, Function, Args, Options]': one call on each of so many workers,
%% those with the least to do.
-spec call_n(call_n, args()) -> [{Worker :: pid(), outcome()}].
call_n(Name, [Count, Module, Function, Args | Rest] = All) ->
    Api = {Name, All},
    is_integer(Count) andalso Count >= 1 orelse py_error:badarg(1, "must be a number of workers, at least 1", Api),
    is_target(Module, Function, 2, Api),
    is_arguments(Args, 4, Api),
    Options = free_options(Rest, 5, Api),
    Workers = present(Options, Api),
    Count =< length(Workers) orelse
        py_error:badarg(1, io_lib:format("must be at most ~w, the number of the pool's workers", [length(Workers)]), Api),
    on_each(lists:sublist(Workers, Count), Module, Function, Args, Options).

on_each(Workers, Module, Function, Args, Options) ->
    Each = maps:without([node, scope], Options),
    Calls = [{[Module, Function, Args, []], Each#{worker => Worker}} || Worker <- Workers],
    {ok, Results} = py_async:take(py_async:start(Calls, infinity), infinity, all),
    lists:zip(Workers, Results).

%% @doc `[Module, Function, Args | Rest]' as {@link py_call:func/2} has it: a call that nobody waits for yet.
-spec async(async, args()) -> py_async:handle().
async(Name, All) -> py_async:one(call({Name, All})).

%% @doc The call that such arguments mean, checked.
-spec call(py_error:api()) -> py_async_group:call().
call({_, [Module, Function, Args | Rest]} = Api) ->
    is_target(Module, Function, 1, Api),
    is_arguments(Args, 3, Api),
    {Keywords, Options} =
        case Rest of
            [] -> {[], #{}};
            [#{} = O] -> {[], options(O, 4, Api)};
            [K] -> {keywords(K, 4, Api), #{}};
            [K, O] -> {keywords(K, 4, Api), options(O, 5, Api)}
        end,
    {[Module, Function, Args, Keywords], Options}.

%% @doc `[Module, Function, ArgLists]' or `[Module, Function, ArgLists, Options]': a call for each list of arguments.
-spec scatter(scatter, args()) -> [py_async:handle()].
scatter(Name, [Module, Function, ArgLists | Rest] = All) ->
    Api = {Name, All},
    is_target(Module, Function, 1, Api),
    length_of(ArgLists) =/= error andalso lists:all(fun(Args) -> length_of(Args) =/= error end, ArgLists) orelse
        py_error:badarg(3, "must be a list of lists of arguments", Api),
    {Options, #{window := PerWorker}} = parallel_options(scatter, Rest, 4, Api),
    Calls = [{[Module, Function, Args, []], Options} || Args <- ArgLists],
    case workers(Options) of
        {ok, Workers} -> py_async:start(Calls, py_chunk_size:window(length(Workers), PerWorker));
        %% Each call has this error.
        {error, _} -> py_async:start(Calls, 1)
    end.

%%% Results

%% @doc `[Handle]' or `[Handle, Timeout]': the result of a call.
-spec await(await, args()) -> term().
await(Name, [Handle | Rest] = All) ->
    Api = {Name, All},
    is_handle(Handle, Api),
    [Value] = values([Handle], timeout(Rest, 2, Api), Api),
    Value.

%% @doc `[Handles]' or `[Handles, Timeout]': the results in the order of the handles, or the first error.
-spec gather(gather, args()) -> [term()].
gather(Name, [Handles | Rest] = All) ->
    Api = {Name, All},
    are_handles(Handles, 1, Api),
    values(Handles, timeout(Rest, 2, Api), Api).

%% @doc The same with each call's own outcome.
-spec gather_all(gather_all, args()) -> [outcome()].
gather_all(Name, [Handles | Rest] = All) ->
    Api = {Name, All},
    are_handles(Handles, 1, Api),
    taken(py_async:take(Handles, timeout(Rest, 2, Api), all), 1, Api).

%% @doc `[Fun, Acc, Handles]' or `[Fun, Acc, Handles, Timeout]': a fun of each result, as they come.
-spec fold_done(fold_done, args()) -> term().
fold_done(Name, [Fun, Acc, Handles | Rest] = All) ->
    Api = {Name, All},
    is_function(Fun, 3) orelse py_error:badarg(1, "must be a fun of three arguments: handle, outcome, and what it gave before", Api),
    are_handles(Handles, 3, Api),
    taken(py_async:fold(Fun, Acc, Handles, timeout(Rest, 4, Api)), 3, Api).

%% @doc `[Handle, Timeout]': the result of a call, if it is there in time.
-spec yield(yield, args()) -> {value, term()} | timeout.
yield(Name, [Handle, Timeout] = All) ->
    Api = {Name, All},
    is_handle(Handle, Api),
    case py_async:yield(Handle, timeout([Timeout], 2, Api)) of
        {ok, Value} -> {value, Value};
        {error, Error} -> py_error:raise(Error, Api);
        timeout -> timeout;
        {refused, Position, Why} -> refuse(Position, Why, 1, Api)
    end.

values(Handles, Timeout, Api) ->
    [Value || {ok, Value} <- taken(py_async:take(Handles, Timeout, first_error), 1, Api)].

taken({ok, Results}, _Argument, _Api) ->
    Results;
taken({failed, Error}, _Argument, Api) ->
    py_error:raise(Error, Api);
taken({refused, Position, Why}, Argument, Api) ->
    refuse(Position, Why, Argument, Api).

-spec refuse(pos_integer(), not_owner | taken, pos_integer(), py_error:api()) -> no_return().
refuse(Position, Why, Argument, {Name, _} = Api) ->
    Which =
        case Name of
            _ when Name =:= await; Name =:= yield -> "";
            _ -> io_lib:format("handle ~w ", [Position])
        end,
    py_error:badarg(Argument, [Which, refused(Why)], Api).

refused(not_owner) -> "must be used by the process that made it: the result is sent to nobody else";
refused(taken) -> "must be one whose result was not taken before: each can be taken once".

%% @doc `[Handle]': end a call, or forget its result.
-spec cancel(cancel, args()) -> ok.
cancel(Name, [Handle] = All) ->
    py_async:is_request(Handle) orelse is_handle(Handle, {Name, All}),
    py_async:cancel(Handle).

%%% Lists

%% @doc `[Module, Function, List]' or `[Module, Function, List, Options]': the function of each item.
-spec pmap(pmap, args()) -> [term()].
pmap(Name, [Module, Function, List | Rest] = All) ->
    Api = {Name, All},
    {Total, Options, #{ordered := Ordered} = Parallel} = list_call(Module, Function, List, Rest, 1, Api),
    Results = chunks(List, Total, each_item(Module, Function, Total, Options, Parallel, Api), Api),
    lists:append([Values || {_, Values} <- if Ordered -> lists:sort(Results); true -> Results end]).

%% @doc `[Fun, Acc, Module, Function, List]' or `[Fun, Acc, Module, Function, List, Options]': a fun of each result, as they come.
-spec pfold(pfold, args()) -> term().
pfold(Name, [Fun, Acc, Module, Function, List | Rest] = All) ->
    Api = {Name, All},
    is_function(Fun, 2) orelse is_function(Fun, 3) orelse
        py_error:badarg(1, "must be a fun of a result and what it gave before, or of an item, its result and that", Api),
    {Total, Options, Parallel} = list_call(Module, Function, List, Rest, 3, Api),
    Each =
        case is_function(Fun, 2) of
            true -> fun(_Item, Value, Before) -> Fun(Value, Before) end;
            false -> Fun
        end,
    chunks(List, Total, (each_item(Module, Function, Total, Options, Parallel, Api))#{fold => {Each, Acc}}, Api).

%% What is made of each item: a value, or an outcome.
each_item(Module, Function, Total, Options, #{errors := return} = Parallel, Api) ->
    Held = maps:get(return, Options, value) =:= ref,
    Flags = flags(Options),
    Args = fun(Items) -> ['erl.calls.parallel', map_each, [Module, Function, Items, Held, Flags], []] end,
    (each_job(Args, Total, Options, Parallel, Api))#{each := outcomes};
each_item(Module, Function, Total, Options, Parallel, Api) ->
    Held = maps:get(return, Options, value) =:= ref,
    Args = fun(Items) -> ['erl.calls.parallel', map, [Module, Function, Items, Held], []] end,
    (each_job(Args, Total, Options, Parallel, Api))#{each := values}.

%% An item that has its own time has its own call, which waits for no other.
each_job(Args, Total, Options, #{item_timeout := Timeout} = Parallel, Api) when Timeout =/= infinity ->
    Size = py_chunk_size:new(1, 1),
    (job(Args, Total, fun(_) -> Size end, Options, Parallel#{window := 1}, Api))#{item_timeout := Timeout};
each_job(Args, Total, Options, #{chunk := Chunk, window := PerWorker} = Parallel, Api) ->
    Size = py_chunk_size:new(Chunk, PerWorker),
    job(Args, Total, fun(_) -> Size end, Options, Parallel, Api).

%% As far as they are known here.
flags(Options) ->
    case py_registry:pool(pool(Options)) of
        {ok, #{flags := OfPool}} -> py_mapping:flags(OfPool, maps:remove(return, Options));
        {error, _} -> py_mapping:flags(maps:remove(return, Options))
    end.

%% @doc `[Module, Function, List]' or `[Module, Function, List, Options]': one value of all items.
-spec preduce(preduce, args()) -> term().
preduce(Name, [Module, Function, List | Rest] = All) ->
    Api = {Name, All},
    {Total, Options, Parallel} = list_call(Module, Function, List, Rest, 1, Api),
    Args = fun(Items) -> ['erl.calls.parallel', reduce, [Module, Function, Items], []] end,
    reduced(Args, {Module, Function}, List, Total, Options, Parallel, Api).

%% @doc `[Module, Function, Reduce, List]' or `[Module, Function, Reduce, List, Options]': one value of what a function makes of all items.
-spec pmap_reduce(pmap_reduce, args()) -> term().
pmap_reduce(Name, [Module, Function, Reduce, List | Rest] = All) ->
    Api = {Name, All},
    {ReduceModule, ReduceName} = Reducer =
        case Reduce of
            {M, F} ->
                py_term:is_name(M) andalso py_term:is_name(F) orelse py_error:badarg(3, "must be {Module, Function}, both names", Api),
                {M, F};
            F ->
                is_name(F, 3, Api),
                {Module, F}
        end,
    {Total, Options, Parallel} = list_call(Module, Function, List, Rest, {1, 4}, Api),
    Args = fun(Items) -> ['erl.calls.parallel', map_reduce, [Module, Function, ReduceModule, ReduceName, Items], []] end,
    reduced(Args, Reducer, List, Total, Options, Parallel, Api).

reduced(Args, {Module, Function}, List, Total, Options, #{chunk := Chunk, window := PerWorker} = Parallel, Api) ->
    Size =
        case Chunk of
            undefined -> fun(Window) -> py_chunk_size:for_reduce(Total, Window) end;
            _ -> fun(_) -> py_chunk_size:new(Chunk, PerWorker) end
        end,
    %% The parts come as pickles, which no mapping may take a part in.
    Job = job(Args, Total, Size, Options#{arrays => opaque}, Parallel, Api),
    Parts = [Part || {_, Part} <- lists:sort(chunks(List, Total, Job, Api))],
    Initial = maps:values(maps:with([initial], Parallel)),
    Last = ['erl.calls.parallel', combine, [Module, Function, Initial ++ Parts], []],
    case py_chunks:attempt(Last, Options, Job, self()) of
        {ok, Value} -> Value;
        {error, Error} -> py_error:raise(Error, Api)
    end.

list_call(Module, Function, List, Rest, First, Api) when is_integer(First) ->
    list_call(Module, Function, List, Rest, {First, First + 2}, Api);
list_call(Module, Function, List, Rest, {First, OfList}, Api) ->
    is_target(Module, Function, First, Api),
    Total = length_of(List),
    Total =/= error orelse py_error:badarg(OfList, "must be a list of items", Api),
    {Options, Parallel} = parallel_options(element(1, Api), Rest, OfList + 1, Api),
    {Total, Options, Parallel}.

job(Args, Total, Size, Options, #{retry := Retry, progress := Progress, window := PerWorker}, {Name, _} = Api) ->
    Deadline = py_deadline:after_ms(maps:get(timeout, Options, infinity)),
    Window = py_chunk_size:window(length(present_for(Total, Options, Api)), PerWorker),
    #{
        args => Args,
        each => whole,
        item_timeout => infinity,
        fold => none,
        size => Size(Window),
        window => Window,
        options => maps:remove(return, Options),
        retry => Retry,
        deadline => Deadline,
        progress => py_progress:new(Progress, "py:" ++ atom_to_list(Name), Total)
    }.

chunks(List, Total, Job, Api) ->
    case py_chunks:run(List, Total, Job) of
        {ok, Results} -> Results;
        {error, Error} -> py_error:raise(Error, Api)
    end.

%%% Workers

%% Nothing is sent for no items.
present_for(0, _Options, _Api) -> [];
present_for(_Total, Options, Api) -> present(Options, Api).

present(Options, Api) ->
    case workers(Options) of
        {ok, Workers} -> Workers;
        {error, Reason} -> py_error:raise({py, Reason}, Api)
    end.

%% The workers that a call with these options may run on, those with the least to do first.
workers(Options) ->
    case loaded(Options) of
        {ok, Loaded} -> {ok, [Worker || {_, _, Worker} <- lists:sort(Loaded)]};
        Error -> Error
    end.

%% @doc The same with what each has to do, and its slot.
-spec loaded(py_call_options:options()) ->
    {ok, [{Calls :: non_neg_integer(), py_registry:slot(), pid()}]} | {error, py_error:reason()}.
loaded(#{node := Node} = Options) when Node =/= node() ->
    There = {?MODULE, loaded, [maps:without([node, scope], Options)]},
    case py_remote:call(Node, pool(Options), There, maps:get(timeout, Options, infinity)) of
        {ok, Loaded} -> Loaded;
        Error -> Error
    end;
loaded(#{worker := Worker}) ->
    {ok, [{0, 1, Worker}]};
loaded(#{scope := cluster} = Options) when not is_map_key(node, Options) ->
    There = {?MODULE, loaded, [Options#{scope := local}]},
    Answers = py_remote:multicall(py_nodes:members(pool(Options)), There, answer_ms(Options)),
    case lists:append([Loaded || {_Node, {ok, {ok, Loaded}}} <- Answers]) of
        %% What is wrong here says why there is none.
        [] -> loaded(Options#{scope := local});
        All -> {ok, All}
    end;
loaded(Options) ->
    Name = pool(Options),
    case py_registry:pool(Name) of
        {ok, #{load := Load}} ->
            %% What can't serve has the largest number of all.
            {ok, [{atomics:get(Load, Slot), Slot, Worker} || {Slot, Worker} <- py_registry:workers(Name)]};
        {error, Reason} ->
            {error, Reason}
    end.

%% Most of a timeout is for the calls.
answer_ms(#{timeout := Timeout}) when Timeout =/= infinity -> min(?ANSWER_MS, Timeout div 4);
answer_ms(_Options) -> ?ANSWER_MS.

pool(Options) -> maps:get(pool, Options, default).

%%% Arguments

is_target(Module, Function, Position, Api) ->
    is_name(Module, Position, Api),
    is_name(Function, Position + 1, Api).

is_name(Name, Position, Api) ->
    py_term:is_name(Name) orelse py_error:badarg(Position, "must be a name: an atom or a binary", Api).

is_arguments(Args, Position, Api) ->
    length_of(Args) =/= error orelse py_error:badarg(Position, "must be the list of arguments", Api).

length_of(List) ->
    try
        length(List)
    catch
        error:badarg -> error
    end.

keywords(Keywords, Position, Api) ->
    case py_term:keywords(Keywords) of
        {ok, List} -> List;
        error -> py_error:badarg(Position, "must be keywords: a list of {Name, Value} or a map", Api)
    end.

is_handle(Handle, Api) ->
    py_async:is_handle(Handle) orelse py_error:badarg(1, "must be a handle of py:async or py:scatter", Api).

are_handles(Handles, Position, Api) ->
    length_of(Handles) =/= error andalso lists:all(fun py_async:is_handle/1, Handles) orelse
        py_error:badarg(Position, "must be a list of handles of py:async or py:scatter", Api).

%% @doc A timeout at the end of the arguments, checked.
-spec timeout([term()], Position :: pos_integer(), py_error:api()) -> timeout().
timeout([], _Position, _Api) ->
    infinity;
timeout([Timeout], Position, Api) ->
    case py_call_options:check(#{timeout => Timeout}) of
        {ok, _} -> Timeout;
        {error, {bad_option, timeout, _, Expected}} -> py_error:badarg(Position, ["must be ", Expected], Api)
    end.

options(Options, Position, Api) ->
    case py_call_options:check(Options) of
        {ok, Checked} -> Checked;
        {error, Problem} -> py_error:badarg(Position, py_options:describe(Problem), Api)
    end.

%% Options of calls whose workers are chosen here.
free_options([], _Position, _Api) ->
    #{};
free_options([Options], Position, Api) ->
    Checked = options(Options, Position, Api),
    is_map_key(worker, Checked) andalso py_error:badarg(Position, "must not have the option worker: each call has its own", Api),
    Checked.

parallel_options(Kind, Rest, Position, Api) ->
    case py_parallel_options:check(Kind, case Rest of [] -> #{}; [Options] -> Options end) of
        {ok, OfCalls, Parallel} -> {OfCalls, Parallel};
        {error, Problem} -> py_error:badarg(Position, py_options:describe(Problem), Api)
    end.
