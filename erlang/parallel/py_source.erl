%%% @doc A source: items of Erlang's that Python iterates over, as an argument of any call.
%%%
%%% The argument is `{'$py.source', {Pid, Flags}}', which Python decodes to an iterator (`erl.calls.streams.Source'). That one
%%% asks for items in batches, by calls of {@link take/2}, and says when nobody will ask any more:
%%%
%%% ```
%%% < py_source:take(Pid, Most)    {more | done, Items as a binary}
%%% < Pid ! close
%%% '''
%%%
%%% The items travel as a binary within the answer, so that they are mapped like arguments, by the flags, and not like
%%% answers. The rule for the size of a batch is that of `erl.calls.streams'.
%%%
%%% Two processes: this one belongs to its owner and always answers, the other one runs the producer, however long that
%%% takes. Both end when the items have, when Python or somebody else closes the source, or with the owner.
%%% @private
-module(py_source).
-behaviour(gen_server).

-export([new/1, take/2, close/1]).
-export([init/1, handle_call/3, handle_cast/2, handle_info/2, format_status/1]).
-export_type([source/0, producer/0]).

-type source() :: {'$py.source', {pid(), Flags :: 0..15}}.
%% No more than an argument: what is in it is for Python.
-type producer() :: fun(() -> {ok, py_term:arg()} | [py_term:arg()] | done) | pid().
%% Gives the next item, the next ones, or the end. A pid is that of a `gen_server', asked by
%% `gen_server:call(Pid, {py_next, Most})', which answers with a list of up to `Most' items or with `done'.

-define(BATCH_US, 2_000).

%% @doc `[Producer]' or `[Producer, Options]': a source that belongs to the process that calls this.
-spec new([producer() | py_parallel_options:source()]) -> source().
new([Producer | Rest] = Args) ->
    is_function(Producer, 0) orelse is_pid(Producer) orelse
        py_error:badarg(1, "must be a function without arguments, or a pid", {source, Args}),
    Options =
        case Rest of
            [] -> #{};
            [Given] -> Given
        end,
    case py_parallel_options:source(Options) of
        {ok, Checked} ->
            {ok, Pid} = gen_server:start(?MODULE, {self(), Producer}, []),
            {'$py.source', {Pid, py_mapping:flags(Checked)}};
        {error, Problem} ->
            py_error:badarg(2, py_options:describe(Problem), {source, Args})
    end.

%% @doc The next items, for Python. Fails as the producer has failed, when the items before it have been taken, and with
%% `{source_gone, Pid}' where nobody gives any more: it was read to its end, or closed, or its owner has ended.
-spec take(pid(), pos_integer()) -> {more | done, binary()}.
take(Pid, Most) ->
    try gen_server:call(Pid, {take, Most}, infinity) of
        {failed, Class, Reason, Stack} -> erlang:raise(Class, Reason, Stack);
        Batch -> Batch
    catch
        exit:_ -> error({source_gone, Pid})
    end.

%% @doc Nobody will ask any more.
-spec close(source()) -> ok.
close({'$py.source', {Pid, _}}) ->
    Pid ! close,
    ok.

%%% The process that always answers

-spec init({pid(), producer()}) -> {ok, Runner :: pid()}.
init({Owner, Producer}) ->
    process_flag(trap_exit, true),
    _ = monitor(process, Owner),
    {ok, spawn_link(fun() -> run(producing(Producer), 1) end)}.

-spec handle_call({take, pos_integer()}, gen_server:from(), pid()) -> {noreply, pid()}.
handle_call({take, Most}, From, Runner) ->
    Runner ! {take, Most, From},
    {noreply, Runner}.

-spec handle_cast(term(), pid()) -> {noreply, pid()}.
handle_cast(_Message, Runner) -> {noreply, Runner}.

%% The owner has ended, or the runner has; or it is closed, by Python or by somebody else.
-spec handle_info(term(), pid()) -> {noreply, pid()} | {stop, normal, pid()}.
handle_info({'DOWN', _, process, _, _}, Runner) -> stop(Runner);
handle_info({'EXIT', Runner, _}, Runner) -> stop(Runner);
handle_info(close, Runner) -> stop(Runner);
handle_info(_Message, Runner) -> {noreply, Runner}.

-spec format_status(gen_server:format_status()) -> gen_server:format_status().
format_status(Status) -> py_excerpt:status(Status).

stop(Runner) ->
    exit(Runner, kill),
    {stop, normal, Runner}.

%%% The process that runs the producer

producing(Pid) when is_pid(Pid) -> fun(Most) -> gen_server:call(Pid, {py_next, Most}, infinity) end;
producing(Fun) -> fun(_Most) -> Fun() end.

run(Produce, Pace) ->
    receive
        {take, Most, From} ->
            Until = erlang:monotonic_time(microsecond) + ?BATCH_US,
            {End, Items} = collect(Produce, min(Most, Pace), Until, 0, []),
            answer(End, Items, From),
            Count = length(Items),
            case End of
                more ->
                    InTime = erlang:monotonic_time(microsecond) =< Until,
                    run(Produce, max(1, if InTime -> 2 * Count; true -> Count div 2 end));
                _ ->
                    ok
            end
    end.

answer({failed, _, _, _} = Failure, [], From) ->
    gen_server:reply(From, Failure);
answer({failed, _, _, _} = Failure, Items, From) ->
    answer(more, Items, From),
    receive
        {take, _, Next} -> gen_server:reply(Next, Failure)
    end;
answer(End, Items, From) ->
    gen_server:reply(From, {End, term_to_binary(lists:reverse(Items))}).

%% The items of a batch, last one first, and what comes after them.
collect(_Produce, Most, _Until, Most, Items) ->
    {more, Items};
collect(Produce, Most, Until, Count, Items) ->
    case next(Produce, Most - Count) of
        {ok, Item} -> collected(Produce, Most, Until, Count + 1, [Item | Items]);
        {items, Some} -> collected(Produce, Most, Until, Count + length(Some), lists:reverse(Some, Items));
        End -> {End, Items}
    end.

collected(Produce, Most, Until, Count, Items) ->
    case Count >= Most orelse erlang:monotonic_time(microsecond) > Until of
        true -> {more, Items};
        false -> collect(Produce, Most, Until, Count, Items)
    end.

%% What the producer throws belongs to Python's call.
next(Produce, Most) ->
    try Produce(Most) of
        {ok, _} = Item -> Item;
        done -> done;
        Items when length(Items) >= 0 -> {items, Items};
        Other -> {failed, error, {bad_item, Other}, []}
    catch
        Class:Reason:Stack -> {failed, Class, Reason, Stack}
    end.
