%%% @doc A stream: what a Python iterator gives, item by item, with Python never further ahead than a window.
%%%
%%% Each stream is a process. It owns the reference to the iterator (an `erl.calls.streams.Stream'), asks for items in batches,
%%% and holds those that nobody has read yet. It asks when half of its window is free, once somebody has read.
%%%
%%% ```
%%% > erl.calls.streams.start(Target, Function, Args, Keywords)    the reference
%%% > erl.calls.streams.take(Reference, Most, AsReferences)        {Items, Ended}
%%% > erl.calls.streams.take(.., true)                             the same items one by one: one of them has no term
%%% > erl.calls.streams.close(Reference)
%%% '''
%%%
%%% A reader asks the process for `next' or, in a fold, for `batch'; each ask has a tag of its own, by which a reader whose
%%% time is over takes it back: so no item is lost. The items of a batch count as unread until the next one is asked for.
%%%
%%% Each call runs in a process of its own, so that this one always answers. That process is the keeper (see {@link py_owners})
%%% of what the items have in shared memory until the first of them is given. The stream ends when the last has been read, when
%%% it is closed, or with its owner. Then its reference is released, and Python closes the generator.
%%% @private
-module(py_stream).
-behaviour(gen_server).

-export([open/1, next/1, fold/1, close/1]).
-export([init/1, handle_call/3, handle_cast/2, handle_info/2, format_status/1]).
-export_type([stream/0]).

-opaque stream() :: {'$py.stream', pid()}.

-type args() :: [term()].
-type reader() :: {Tag :: reference(), gen_server:from(), next | batch}.

-record(state, {
    owner :: pid(),
    window :: pos_integer(),
    options :: py_call_options:options(),
    iterator = undefined :: undefined | py_term:ref(),
    %% Items that nobody has read: those at hand, the batches behind them, and how many there are in all.
    items = [] :: [term()],
    batches = queue:new() :: queue:queue({Keeper :: pid(), [term()]}),
    count = 0 :: non_neg_integer(),
    lent = 0 :: non_neg_integer(),
    readers = queue:new() :: queue:queue(reader()),
    call = undefined :: undefined | pid(),
    again = false :: boolean(),
    %% Where the iterator was, when the connection to it was lost.
    lost = none :: none | node(),
    phase = idle :: idle | open | ended | {failed, term()} | {closing, gen_server:from()}
}).

%%% For readers

%% @doc The arguments of {@link py_call:func/2}. The stream belongs to the process that calls this.
-spec open(args()) -> stream().
open(All) ->
    Api = {stream, All},
    {Target, Function, Args, Keywords, Options} = py_call:target(Api),
    case py_parallel_options:stream(Options) of
        {ok, Window, Checked} ->
            {ok, Pid} = gen_server:start(?MODULE, {self(), Window, Checked}, []),
            Start = ['erl.calls.streams', start, [Target, Function, Args, Keywords], []],
            case py_route:perform({wrapper, call}, Start, Checked#{return => ref}, Pid) of
                {ok, {'$py.ref', _, _, _} = Iterator} ->
                    gen_server:cast(Pid, {iterator, Iterator}),
                    {'$py.stream', Pid};
                %% A sandboxed Python answers with what it likes.
                {ok, _} ->
                    gen_server:cast(Pid, abandon),
                    py_error:raise({py, {protocol, unreadable_answer}}, Api);
                {error, Error} ->
                    gen_server:cast(Pid, abandon),
                    py_error:raise(Error, Api)
            end;
        {error, Problem} ->
            py_error:badarg(length(All), py_options:describe(Problem), Api)
    end.

%% @doc `[Stream]' or `[Stream, Timeout]'.
-spec next(args()) -> {ok, term()} | done.
next([Stream | Rest] = Args) ->
    Api = {stream_next, Args},
    Pid = process(Stream, 1, Api),
    case Rest of
        [] -> ask(Pid, next, infinity, Api);
        [Timeout] -> ask(Pid, next, checked(Timeout, 2, Api), Api)
    end.

%% @doc `[Fun, Acc, Stream]'. Whatever ends the fold early abandons the stream.
-spec fold(args()) -> term().
fold([Fun, Acc, Stream] = Args) ->
    Api = {stream_fold, Args},
    is_function(Fun, 2) orelse py_error:badarg(1, "must be a function of an item and an accumulator", Api),
    Pid = process(Stream, 3, Api),
    try
        fold(Fun, Acc, Pid, Api)
    catch
        Class:Reason:Stack ->
            gen_server:cast(Pid, abandon),
            erlang:raise(Class, Reason, Stack)
    end.

fold(Fun, Acc, Pid, Api) ->
    case ask(Pid, batch, infinity, Api) of
        {ok, Items} -> fold(Fun, lists:foldl(Fun, Acc, Items), Pid, Api);
        done -> Acc
    end.

%% @doc `[Stream]', or a source in its place. Returns when the generator is closed, fails as that fails.
-spec close(args()) -> ok.
close([{'$py.source', {Pid, Flags}} = Source]) when is_pid(Pid), is_integer(Flags) ->
    py_source:close(Source);
close([Stream] = Args) ->
    Api = {stream_close, Args},
    Pid = process(Stream, 1, Api),
    case response(gen_server:receive_response(gen_server:send_request(Pid, close), infinity), Pid) of
        {error, Error} -> py_error:raise(Error, Api);
        _ -> ok
    end.

process({'$py.stream', Pid}, _, _) when is_pid(Pid) -> Pid;
process(_, Position, Api) -> no_stream(Position, Api).

-spec no_stream(pos_integer(), py_error:api()) -> no_return().
no_stream(Position, Api) -> py_error:badarg(Position, "must be a stream", Api).

checked(Timeout, Position, Api) ->
    case py_call_options:check(#{timeout => Timeout}) of
        {ok, _} -> Timeout;
        {error, Problem} -> py_error:badarg(Position, py_options:describe(Problem), Api)
    end.

ask(Pid, What, Timeout, Api) ->
    Tag = make_ref(),
    Request = gen_server:send_request(Pid, {What, Tag}),
    Response =
        case gen_server:wait_response(Request, Timeout) of
            timeout ->
                %% Answered at once, with `timeout' or with what has come meanwhile.
                gen_server:cast(Pid, {take_back, Tag}),
                gen_server:receive_response(Request, infinity);
            InTime ->
                InTime
        end,
    case response(Response, Pid) of
        {error, Error} -> py_error:raise(Error, Api);
        Answer -> Answer
    end.

%% One that has ended has given all that it had.
response({reply, Answer}, _) -> Answer;
response({error, {noconnection, _}}, Pid) -> {error, {py, {node_down, node(Pid)}}};
response({error, {Reason, _}}, _) when Reason =:= normal; Reason =:= noproc -> done;
response({error, {Reason, _}}, _) -> {error, {py, {worker_down, Reason}}}.

%%% The process

-spec init({pid(), pos_integer(), py_call_options:options()}) -> {ok, #state{}}.
init({Owner, Window, Options}) ->
    process_flag(trap_exit, true),
    _ = monitor(process, Owner),
    {ok, #state{owner = Owner, window = Window, options = Options}}.

-spec format_status(gen_server:format_status()) -> gen_server:format_status().
format_status(Status) -> py_excerpt:status(Status).

-type result() :: {noreply, #state{}} | {stop, normal, #state{}}.

-spec handle_call({next | batch, reference()} | close, gen_server:from(), #state{}) -> result().
handle_call({What, Tag}, From, #state{phase = idle} = State) ->
    handle_call({What, Tag}, From, State#state{phase = open});
handle_call({What, Tag}, From, #state{readers = Readers} = State) ->
    serve(State#state{readers = queue:in({Tag, From, What}, Readers)});
handle_call(close, From, #state{phase = {closing, _}} = State) ->
    gen_server:reply(From, ok),
    {noreply, State};
handle_call(close, From, #state{phase = Phase} = State) when Phase =:= idle; Phase =:= open ->
    dismiss(done, State),
    end_calls(State),
    serve(start_call(close, [], State#state{
        phase = {closing, From}, items = [], batches = queue:new(), count = 0, readers = queue:new()
    }));
handle_call(close, From, State) ->
    gen_server:reply(From, ok),
    stop(done, State).

-spec handle_cast({iterator, py_term:ref()} | {take_back, reference()} | abandon, #state{}) -> result().
handle_cast({iterator, {_, Worker, _, _} = Iterator}, State) ->
    node(Worker) =:= node() orelse afar(node(Worker)),
    {noreply, State#state{iterator = Iterator}};
handle_cast({take_back, Tag}, #state{readers = Readers} = State) ->
    Left = queue:filter(
        fun
            ({T, From, _}) when T =:= Tag ->
                gen_server:reply(From, {error, {py, timeout}}),
                false;
            (_) ->
                true
        end,
        Readers
    ),
    {noreply, State#state{readers = Left}};
handle_cast(abandon, State) ->
    stop(done, State).

-spec handle_info(term(), #state{}) -> result().
handle_info({Call, Result}, #state{call = Call, phase = {closing, From}} = State) ->
    Call ! kept,
    gen_server:reply(From, closed(Result)),
    stop(done, State#state{call = undefined});
handle_info({Call, Result}, #state{call = Call} = State) ->
    serve(lost(taken(Result, Call, State#state{call = undefined})));
handle_info({'EXIT', Call, Reason}, #state{call = Call} = State) ->
    handle_info({Call, {error, {py, {worker_down, Reason}}}}, State);
handle_info({'DOWN', _, process, Owner, _}, #state{owner = Owner} = State) ->
    stop({error, {py, {stale_reference, "the process that owned the stream has ended"}}}, State);
%% What holds the iterator there has ended with the connection. A call that is under way may have been answered already.
handle_info({nodedown, Node}, #state{call = undefined} = State) ->
    serve(lost(State#state{lost = Node}));
handle_info({nodedown, Node}, State) ->
    {noreply, State#state{lost = Node}};
handle_info(_Message, State) ->
    {noreply, State}.

lost(#state{lost = Node, phase = Phase} = State) when Node =/= none, Phase =:= idle orelse Phase =:= open ->
    State#state{phase = {failed, {py, {node_down, Node}}}};
lost(State) ->
    State.

%% Without a message to that node, behind which this process would be suspended while it does not read.
afar(Node) ->
    true = monitor_node(Node, true),
    py_transit:cast(Node, {py_nodes, host_stream, [self()]}).

%%% Items in and out

taken({ok, {[_ | _] = Items, Ended}}, Call, #state{batches = Batches, count = Count} = State) when
    length(Items) > 0, is_boolean(Ended)
->
    ended(Ended, State#state{batches = queue:in({Call, Items}, Batches), count = Count + length(Items)});
taken(Result, Call, State) ->
    Call ! kept,
    without_items(Result, State).

without_items({ok, {[], Ended}}, State) when is_boolean(Ended) ->
    ended(Ended, State);
without_items({ok, _}, State) ->
    State#state{phase = {failed, {py, {protocol, unreadable_answer}}}};
without_items({error, {py, {encode, _}}}, #state{again = false} = State) ->
    start_call(take, [1, as_references(State), true], State#state{again = true});
%% The iterator was in a Python that is no more.
without_items({error, {py, {stale_reference, _}}}, #state{lost = none} = State) -> State#state{phase = {failed, {py, {worker_down, replaced}}}};
without_items({error, {py, {stale_reference, _}}}, State) -> lost(State);
without_items({error, Error}, State) -> State#state{phase = {failed, Error}}.

ended(true, State) -> State#state{phase = ended};
ended(false, State) -> State.

serve(#state{readers = Readers, count = Count, phase = Phase} = State) ->
    case queue:out(Readers) of
        {{value, {_, From, What}}, Left} when Count > 0 ->
            {Answer, Next} = give(What, State#state{readers = Left}),
            gen_server:reply(From, {ok, Answer}),
            serve(Next);
        {{value, {_, From, _}}, Left} when Phase =/= open ->
            gen_server:reply(From, last_word(Phase)),
            stop_or_close(State#state{readers = Left});
        _ ->
            {noreply, pull(State)}
    end.

last_word({failed, Error}) -> {error, Error};
last_word(_) -> done.

stop_or_close(#state{phase = {closing, _}} = State) -> serve(State);
stop_or_close(State) -> stop(done, State).

give(What, #state{items = [], batches = Batches} = State) ->
    {{value, {Keeper, Items}}, Left} = queue:out(Batches),
    Keeper ! kept,
    give(What, State#state{items = Items, batches = Left});
give(next, #state{items = [Item | Items], count = Count} = State) ->
    {Item, State#state{items = Items, count = Count - 1}};
give(batch, #state{items = Items, count = Count} = State) ->
    Lent = length(Items),
    {Items, State#state{items = [], count = Count - Lent, lent = Lent}}.

%% Half a window at a time: so one half is read while the other one is filled.
pull(#state{phase = open, call = undefined, window = Window, readers = Readers} = State) ->
    Half = max(1, Window div 2),
    case {room(State), queue:is_empty(Readers)} of
        {Room, _} when Room * 2 >= Window -> start_call(take, [min(Room, Half), as_references(State)], State);
        {_, false} -> start_call(take, [1, as_references(State)], State);
        _ -> State
    end;
pull(State) ->
    State.

%% A reader of a batch who waits has read the one before.
room(#state{window = Window, count = Count, lent = Lent, readers = Readers}) ->
    case queue:peek(Readers) of
        {value, {_, _, batch}} -> Window - Count;
        _ -> Window - Count - Lent
    end.

as_references(#state{options = Options}) -> maps:get(return, Options, value) =:= ref.

%%% Calls

%% What the items hold in Python belongs to the owner of the stream, what they have in shared memory once they are given.
start_call(Function, Args, #state{iterator = Iterator, options = Options, owner = Owner} = State) ->
    Stream = self(),
    Call = spawn_link(fun() ->
        Target = ['erl.calls.streams', Function, [Iterator | Args], []],
        Stream ! {self(), py_route:perform({wrapper, call}, Target, maps:remove(return, Options), {Owner, self()})},
        receive kept -> py_shared_owner:kept() end
    end),
    State#state{call = Call}.

%% The worker finds that nobody waits any more, and interrupts the generator.
end_calls(#state{call = Call, batches = Batches}) ->
    Keepers = [Keeper || {Keeper, _} <- queue:to_list(Batches)],
    [begin unlink(Pid), exit(Pid, kill) end || Pid <- [Call | Keepers], is_pid(Pid)],
    ok.

%% What died with its Python needs no closing.
closed({ok, _}) -> ok;
closed({error, {py, {Reason, _}}}) when Reason =:= stale_reference; Reason =:= worker_down -> ok;
closed({error, _} = Error) -> Error.

stop(Answer, #state{} = State) ->
    dismiss(Answer, State),
    end_calls(State),
    {stop, normal, State}.

dismiss(Answer, #state{readers = Readers}) ->
    lists:foreach(fun({_, From, _}) -> gen_server:reply(From, Answer) end, queue:to_list(Readers)).
