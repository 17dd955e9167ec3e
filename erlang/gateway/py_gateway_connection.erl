%%% @doc One driver: its socket, its tasks, what it prints and holds. It routes, and waits for nobody.
%%%
%%% ```
%%%   greeting -> open -> over
%%% '''
%%%
%%% It is the group leader of its tasks: what they print comes from the worker that answers them, so it is on its way before the answer.
%%% Frames go out through `py_gateway_writer', Erlang functions run in `py_gateway_calls', tasks are a value of `py_gateway_tasks'.
%%% "The gateway" in docs/architecture.md has the messages, the states, and who may die when.
%%% @private
-module(py_gateway_connection).

-export([start_link/2, serve/2]).
-export_type([settings/0]).

-type settings() :: #{
    role := py_gateway_wire:role(), stop := none | fun(() -> ok), service := none | py_gateway_service:service(),
    connections := fun(() -> non_neg_integer())
}.
%% Of the socket that it came through: the role; what ends the node, where drivers may; a front's service; how many are connected.

-record(state, {
    socket :: gen_tcp:socket(),
    gateway :: pid(),
    settings :: settings(),
    role = none :: none | py_gateway_wire:role(),
    greeting :: reference() | none,
    writer :: pid(),
    calls = none :: none | pid(),
    input = py_gateway_wire:input() :: py_wire:input(),
    most_bytes = py_gateway_wire:greeting_bytes() :: pos_integer(),
    atoms = py_atoms:connection() :: py_atoms:budget(),
    is_reading = true :: boolean(),
    spelled = none :: none | py_gateway_wire:spelled(),
    tasks = py_gateway_tasks:new() :: py_gateway_tasks:tasks(),
    %% Of a front: the workers of answers that come in pieces, by the numbers of their requests. And who is told what replicas print.
    streams = #{} :: py_gateway_service:streams(),
    leader :: pid(),
    %% Open requests that are no tasks; those that wait until the driver reads.
    asked = #{} :: #{py_gateway_wire:id() => []},
    running = 0 :: non_neg_integer(),
    average = 0 :: non_neg_integer(),
    unasked = queue:new() :: queue:queue({py_gateway_wire:id(), py_gateway_calls:work()}),
    %% Frames for the writer, last first.
    out = [] :: iodata(),
    out_bytes = 0 :: non_neg_integer(),
    %% What the writer has, and has not written.
    unwritten = 0 :: non_neg_integer(),
    %% Who waits for having printed.
    printers = [] :: [{pid(), term()}],
    %% Of results.
    files = py_gateway_files:new(0) :: py_gateway_files:files(),
    %% Who has got a message and has many before it, and how long that is waited for.
    receiver = none :: none | {pid(), Until :: integer()},
    log = none :: none | py_leaders:words(),
    lost = 0 :: non_neg_integer(),
    pools = #{} :: map()
}).

-define(HELLO_MS, 5_000).
-define(POOLS_MS, 500).
%% How long somebody who is refused has to read why.
-define(REFUSED_MS, 1_000).
%% A receiver with a long queue is waited for, so long at the most; and the pause between two looks.
-define(PATIENCE_MS, 5_000).
-define(QUEUE_MS, 20).
-define(BATCH_BYTES, 65_536).
-define(UNWRITTEN_BYTES, 1_048_576).
%% With more than that unwritten nothing is read.
-define(UNREAD_BYTES, 4_194_304).
-define(OPEN_TASKS, 2_048).
-define(OPEN_BYTES, 67_108_864).
%% Erlang functions that run at a time: so many results may come while the driver does not read.
-define(LEAST_CALLS, 8).
-define(MOST_CALLS, 64).
-define(ANSWER_BYTES, 8_388_608).

%% @doc A connection that waits for its socket.
-spec start_link(Gateway :: pid(), settings()) -> pid().
start_link(Gateway, Settings) ->
    proc_lib:spawn_link(fun() ->
        %% Messages stay on its heap, where they stand in the order in which they were sent: what a task prints comes from another
        %% process than its answer.
        process_flag(trap_exit, true),
        receive
            {socket, Socket} -> greet(Socket, Gateway, Settings);
            {'EXIT', Gateway, _} -> ok
        after ?HELLO_MS -> ok
        end
    end).

%% @doc Give it the socket, which belongs to the calling process.
-spec serve(pid(), gen_tcp:socket()) -> ok.
serve(Connection, Socket) ->
    case gen_tcp:controlling_process(Socket, Connection) of
        ok -> Connection ! {socket, Socket}, ok;
        {error, _} -> gen_tcp:close(Socket)
    end.

greet(Socket, Gateway, Settings) ->
    Leader = group_leader(),
    group_leader(self(), self()),
    _ = inet:setopts(Socket, [{active, once}]),
    loop(#state{
        socket = Socket,
        gateway = Gateway,
        settings = Settings,
        leader = Leader,
        greeting = erlang:start_timer(?HELLO_MS, self(), greeting),
        writer = py_gateway_writer:start_link(Socket)
    }).

%% What there is to write goes when there is nothing else to do.
loop(over) ->
    %% Who is linked to it ends with it.
    exit(shutdown);
loop(#state{out = []} = State) ->
    receive
        Message -> loop(handled(Message, State))
    end;
loop(#state{} = State) ->
    receive
        Message -> loop(handled(Message, State))
    after 0 -> loop(flushed(State))
    end.

flushed(#state{out = []} = State) ->
    State;
flushed(#state{out = Out, out_bytes = Bytes, writer = Writer, unwritten = Unwritten} = State) ->
    py_gateway_writer:write(Writer, lists:reverse(Out), Bytes),
    State#state{out = [], out_bytes = 0, unwritten = Unwritten + Bytes}.

say({Bytes, Size}, #state{out = Out, out_bytes = Before} = State) ->
    case State#state{out = [Bytes | Out], out_bytes = Before + Size} of
        #state{out_bytes = Many} = Next when Many >= ?BATCH_BYTES -> flushed(Next);
        Next -> Next
    end.

%%% Messages

handled({Alias, _} = Answer, State) when is_reference(Alias) ->
    of_tasks(Answer, State);
handled({tcp, Socket, Data}, #state{socket = Socket} = State) ->
    case received(Data, State) of
        over -> over;
        Next -> read_on(Next#state{is_reading = false})
    end;
handled({timeout, _, read}, State) ->
    read_on(State);
handled({wrote, Writer, Bytes}, #state{writer = Writer, unwritten = Unwritten} = State) ->
    case relieved(State#state{unwritten = Unwritten - Bytes}) of
        #state{receiver = none} = Next -> read_on(Next);
        Next -> Next
    end;
handled({io_request, From, As, Request}, State) ->
    printed(py_gateway_output:request(Request), From, As, State);
handled({py_formatted, From, As, Text}, State) ->
    printed({text, Text, ok}, From, As, State);
handled({said, Id, {_, Bytes} = Frame}, #state{asked = Asked, average = Average} = State) ->
    Next = State#state{average = max(Bytes, Average - Average div 8)},
    case maps:take(Id, Asked) of
        {[], Left} -> say(Frame, Next#state{asked = Left});
        error -> Next
    end;
handled({over, Calls}, #state{calls = Calls, running = Running} = State) ->
    given(State#state{running = Running - 1});
handled({py_record, Level, Text, Meta}, State) ->
    logged(Level, Text, Meta, State);
handled({timeout, _, pools}, State) ->
    pools_looked_at(State);
handled({timeout, Timer, greeting}, #state{greeting = Timer} = State) ->
    refused(timeout, "there was no hello within 5 seconds", State);
handled({tcp_closed, Socket}, #state{socket = Socket} = State) ->
    over(State);
handled({tcp_error, Socket, _}, #state{socket = Socket} = State) ->
    over(State);
%% The gateway, the writer, the process of the calls; or the application's stop.
handled({'EXIT', _, _}, State) ->
    over(State);
handled(Message, State) ->
    of_tasks(Message, State).

%% Nothing is read from somebody who takes no answers: what is said to him at once nothing else bounds. And somebody whose queue is long is
%% waited for, so that a driver's messages fill no memory; but not for ever.
read_on(#state{is_reading = false, receiver = {Pid, Until}} = State) ->
    case py_gateway_casts:is_behind(Pid) andalso erlang:monotonic_time(millisecond) < Until of
        true -> _ = erlang:start_timer(?QUEUE_MS, self(), read), State;
        false -> read_on(State#state{receiver = none})
    end;
read_on(#state{is_reading = false, socket = Socket, unwritten = Unwritten, out_bytes = Out} = State) when Unwritten + Out < ?UNREAD_BYTES ->
    _ = inet:setopts(Socket, [{active, once}]),
    State#state{is_reading = true};
read_on(State) ->
    State.

received(Data, #state{input = Input, most_bytes = Most} = State) ->
    case py_gateway_wire:split(Data, Input, Most) of
        {ok, Frames, Next} -> each(Frames, State#state{input = Next});
        {error, _Head} when State#state.role =:= none -> refused(bad_hello, "what came is no hello", State);
        {error, _Head} -> refused(bad_frame, "a frame is no term, or longer than packet_bytes", State)
    end.

each(_Frames, over) ->
    over;
each(<<>>, State) ->
    sent(State);
each(Frames, #state{role = none} = State) ->
    {Frame, Rest} = py_gateway_wire:next(Frames),
    each(Rest, hello(Frame, State));
each(Frames, #state{role = Role, atoms = Atoms, spelled = Spelled} = State) ->
    {Frame, Rest} = py_gateway_wire:next(Frames),
    case py_gateway_wire:read(Frame, Role, Atoms, Spelled) of
        {ok, {submit, _, _, _} = Submit, Spelled} -> each(Rest, message(Submit, State));
        {ok, Message, Next} -> each(Rest, message(Message, sent(State#state{spelled = Next})));
        {refused, Id, Text} -> each(Rest, unread(Id, Text, State));
        {error, Text} -> refused(bad_message, Text, State)
    end.

%% Tasks that follow each other are on their way to their dispatcher together, before anything else is done.
sent(#state{tasks = Tasks} = State) -> State#state{tasks = py_gateway_tasks:flush(Tasks)}.

%% A message that costs more atoms than are left is one request's fault; one that nobody answers is told of in the driver's log.
unread(none, Text, State) ->
    say(py_gateway_wire:encode(py_gateway_log:message(warning, ["a message was dropped: ", Text], #{})), State);
unread(Id, Text, State) ->
    case is_open(Id, State) of
        true -> twice(Id, State);
        false -> say(py_gateway_wire:failed(Id, {encode, Text}), State)
    end.

%%% hello

hello(Frame, #state{settings = #{role := Own}, greeting = Timer} = State) ->
    case py_gateway_wire:hello(Frame) of
        {ok, Info} ->
            case py_gateway_tokens:role(Info, Own) of
                {ok, Role} ->
                    _ = erlang:cancel_timer(Timer),
                    opened(Role, Info, State#state{greeting = none, role = Role, most_bytes = py_gateway_wire:packet_bytes(Role)});
                {error, Reason, Text} ->
                    refused(Reason, Text, State)
            end;
        {error, {version, Version} = Reason} ->
            refused(Reason, io_lib:format("this node speaks version ~w of the link", [Version]), State);
        {error, Reason} ->
            refused(Reason, "what came is no hello", State)
    end.

opened(Role, Info, State) ->
    Pools = py_gateway_pools:pools(),
    Hello = (py_gateway_wire:own_info(Role))#{pools => Pools, open_tasks => ?OPEN_TASKS, open_bytes => ?OPEN_BYTES},
    _ = erlang:start_timer(?POOLS_MS, self(), pools),
    {Own, Next} = of_role(Role, State#state{
        pools = Pools, calls = py_gateway_calls:start_link(), log = log(Role, maps:get(log, Info, false))
    }),
    flushed(say(py_gateway_wire:encode({hello, py_gateway_wire:version(), maps:merge(Hello, Own)}), Next)).

log(front, _) -> none;
log(observer, false) -> none;
log(_, true) -> py_leaders:open(others);
log(driver, false) -> py_leaders:open(own).

%% Who may run code may have the key; nobody else gets it.
of_role(driver, State) ->
    Own = #{key => py_key:get(), former_keys => py_key:former(), stops => maps:get(stop, State#state.settings) =/= none},
    case py_shared_owner:place(#{sandbox => none}) of
        #{max_bytes := Most} = Place when Most > 0 ->
            Quota = Most div 2,
            {Own#{shared => Place#{max_bytes := Quota}}, State#state{files = py_gateway_files:new(Quota)}};
        _ ->
            {Own#{shared => undefined}, State}
    end;
%% What replicas print is for the node, and goes there.
of_role(front, #state{leader = Leader} = State) ->
    group_leader(Leader, self()),
    {#{}, State};
of_role(observer, State) ->
    {#{}, State}.

%%% The driver's messages

message({submit, Id, Route, Body}, #state{role = driver, tasks = Tasks} = State) ->
    case place(Id, State) of
        open ->
            twice(Id, State);
        full ->
            say(py_gateway_wire:overload(Id), State);
        free ->
            submitted(Id, py_gateway_tasks:submit(Id, Route, Body, Tasks), State)
    end;
message({submit, Id, Given, Body}, #state{settings = #{service := Service}, tasks = Tasks, streams = Streams} = State) ->
    case place(Id, State) of
        open -> twice(Id, State);
        full -> say(py_gateway_wire:overload(Id), State);
        free -> submitted(Id, py_gateway_service:submit(Id, Given, Body, Service, Streams, Tasks), State)
    end;
%% Nothing more of that answer is wanted.
message({cancel, Id}, #state{streams = Streams} = State) when is_map_key(Id, Streams) ->
    State#state{streams = maps:remove(Id, Streams)};
message({cancel, Id}, #state{tasks = Tasks, asked = Asked, unasked = Unasked, calls = Calls} = State) ->
    case py_gateway_tasks:cancel(Id, Tasks) of
        {ok, Next} ->
            given(say(py_gateway_wire:failed(Id, cancelled), State#state{tasks = Next}));
        error when is_map_key(Id, Asked) ->
            py_gateway_calls:cancel(Calls, Id),
            Left = queue:filter(fun({Of, _}) -> Of =/= Id end, Unasked),
            say(py_gateway_wire:failed(Id, cancelled), State#state{asked = maps:remove(Id, Asked), unasked = Left});
        error ->
            State
    end;
message({drop, Id}, #state{tasks = Tasks} = State) ->
    case py_gateway_tasks:drop(Id, Tasks) of
        {dropped, Next} -> say(py_gateway_wire:encode({dropped, Id}), State#state{tasks = Next});
        begun -> say(py_gateway_wire:encode({begun, Id}), State);
        asked -> State;
        error -> State
    end;
message({call, Id, Module, Function, Args}, State) ->
    ask(Id, {call, Module, Function, Args}, State);
message({start_pool, Id, Options}, State) ->
    ask(Id, {start_pool, Options}, State);
message({stop_pool, Id, Name}, State) ->
    ask(Id, {stop_pool, Name}, State);
message({status, Id}, #state{settings = #{connections := Connections}} = State) ->
    ask(Id, {status, fun() -> (py_gateway_pools:status())#{connections => Connections()} end}, State);
message({stop, Id}, #state{settings = #{stop := none}} = State) ->
    say(py_gateway_wire:failed(Id, {link, "this node is not only for drivers: who has started it stops it"}), State);
message({stop, Id}, #state{settings = #{stop := Stop}} = State) ->
    Next = flushed(say(py_gateway_wire:encode({result, Id, ok}), State)),
    Stop(),
    Next;
message({cast, To, Message}, #state{receiver = Before} = State) ->
    case py_gateway_casts:send(To, Message) of
        {behind, Pid} when Before =:= none -> State#state{receiver = {Pid, erlang:monotonic_time(millisecond) + ?PATIENCE_MS}};
        _ -> State
    end;
message({release, What}, State) ->
    given(lists:foldl(fun released/2, State, What)).

submitted(_Id, {ok, Tasks}, State) -> State#state{tasks = Tasks};
submitted(Id, {error, Reason}, State) -> say(py_gateway_wire:failed(Id, Reason), State).

%% Whether there is one for another request.
place(Id, #state{tasks = Tasks, asked = Asked} = State) ->
    IsFull = py_gateway_tasks:count(Tasks) + map_size(Asked) >= ?OPEN_TASKS orelse py_gateway_tasks:body_bytes(Tasks) > ?OPEN_BYTES,
    case is_open(Id, State) of
        true -> open;
        false when IsFull -> full;
        false -> free
    end.

is_open(Id, #state{tasks = Tasks, asked = Asked, streams = Streams}) ->
    py_gateway_tasks:is_open(Id, Tasks) orelse is_map_key(Id, Asked) orelse is_map_key(Id, Streams).

%% Of two answers nobody could tell which is whose.
twice(Id, State) -> refused(bad_message, io_lib:format("there is an open request ~w", [Id]), State).

ask(Id, Work, #state{asked = Asked, unasked = Unasked} = State) ->
    case place(Id, State) of
        open -> twice(Id, State);
        full -> say(py_gateway_wire:overload(Id), State);
        free -> given(State#state{asked = Asked#{Id => []}, unasked = queue:in({Id, Work}, Unasked)})
    end.

released({'$py.ref', Worker, Incarnation, Id} = Reference, State) ->
    _ = py_term:is_ref(Reference) andalso py_worker:release(Worker, Incarnation, [Id]),
    State;
released(Name, #state{files = Files} = State) ->
    State#state{files = py_gateway_files:release(Name, Files)}.

%%% Tasks

of_tasks(Message, #state{tasks = Tasks} = State) ->
    case py_gateway_tasks:message(Message, Tasks) of
        {answer, Id, Answer, Next} ->
            given(answered(Id, Answer, streaming(Id, Answer, State#state{tasks = Next})));
        {wait, Next} ->
            State#state{tasks = Next};
        %% As the messages are called.
        {What, Id, Next} ->
            given(say(py_gateway_wire:encode({What, Id}), State#state{tasks = Next}));
        unknown ->
            State
    end.

streaming(Id, Answer, #state{role = front, streams = Streams} = State) ->
    State#state{streams = py_gateway_service:answered(Id, Answer, Streams)};
streaming(_Id, _Answer, State) ->
    State.

answered(Id, {frame, Frame, Trust, Origin}, #state{files = Files} = State) ->
    case byte_size(Frame) + 1_024 > py_gateway_wire:packet_bytes() of
        true ->
            Text = io_lib:format("the answer takes ~w bytes, and a packet has ~w", [byte_size(Frame), py_gateway_wire:packet_bytes()]),
            say(py_gateway_wire:failed(Id, {encode, lists:flatten(Text)}), State);
        false when Trust =:= trusted ->
            say(py_gateway_wire:done(Id, trusted, Frame), State#state{files = py_gateway_files:given(Frame, Origin, Files)});
        false ->
            say(py_gateway_wire:done(Id, box, Frame), State)
    end;
answered(Id, {error, {py, Reason}}, State) ->
    say(py_gateway_wire:failed(Id, Reason), State).

%% Whether more may be begun for a driver: it reads what there is, and lets go of what it has.
has_room(#state{unwritten = Unwritten, out_bytes = Out, files = Files}) ->
    Unwritten + Out < ?UNWRITTEN_BYTES andalso py_gateway_files:has_room(Files).

given(#state{tasks = Tasks} = State) ->
    HasRoom = has_room(State),
    {Failed, Next} = py_gateway_tasks:pace(HasRoom, Tasks),
    Told = lists:foldl(fun({Id, Reason}, Acc) -> say(py_gateway_wire:failed(Id, Reason), Acc) end, State#state{tasks = Next}, Failed),
    case HasRoom of
        true -> run(Told);
        false -> Told
    end.

run(#state{unasked = Unasked, calls = Calls, running = Running, average = Average} = State) ->
    Most = max(?LEAST_CALLS, min(?MOST_CALLS, ?ANSWER_BYTES div max(1, Average))),
    case Running < Most andalso queue:out(Unasked) of
        {{value, {Id, Work}}, Left} ->
            py_gateway_calls:run(Calls, Id, Work),
            run(State#state{unasked = Left, running = Running + 1});
        _ ->
            State
    end.

%%% What is said unasked

printed({text, <<>>, Reply}, From, As, State) ->
    From ! {io_reply, As, Reply},
    State;
printed({text, Text, Reply}, From, As, #state{printers = Printers} = State) ->
    Next = say(py_gateway_wire:encode({print, Text}), State),
    case has_room(Next) of
        true -> From ! {io_reply, As, Reply}, Next;
        false -> Next#state{printers = [{From, As} | Printers]}
    end;
printed({format, Make}, From, As, State) ->
    py_gateway_output:make(Make, From, As),
    State;
printed({reply, Reply}, From, As, State) ->
    From ! {io_reply, As, Reply},
    State.

logged(Level, Text, Meta, #state{log = Words, lost = Before} = State) ->
    Lost = Before + py_leaders:take(Words),
    case has_room(State) of
        true ->
            {log, Level, Said, Known} = py_gateway_log:message(Level, Text, Meta),
            Told = if Lost =:= 0 -> Known; true -> Known#{dropped => Lost} end,
            say(py_gateway_wire:encode({log, Level, Said, Told}), State#state{lost = 0});
        false ->
            State#state{lost = Lost + 1}
    end.

pools_looked_at(#state{pools = Before} = State) ->
    _ = erlang:start_timer(?POOLS_MS, self(), pools),
    case py_gateway_pools:pools() of
        Before -> State;
        Pools ->
            case has_room(State) of
                true -> say(py_gateway_wire:encode({pools, Pools}), State#state{pools = Pools});
                false -> State
            end
    end.

%% The driver reads.
relieved(State) ->
    case has_room(State) of
        true ->
            _ = [From ! {io_reply, As, ok} || {From, As} <- lists:reverse(State#state.printers)],
            given(State#state{printers = []});
        false ->
            State
    end.

%%% The end

refused(Reason, Text, #state{socket = Socket, writer = Writer} = State) ->
    Said = py_gateway_wire:encode({refused, py_gateway_wire:simple(Reason), unicode:characters_to_binary(Text)}),
    _ = flushed(say(Said, State)),
    py_gateway_writer:close(Writer),
    Over = over(State),
    py_gateway_socket:until_read(Socket, ?REFUSED_MS),
    Over.

over(#state{socket = Socket, tasks = Tasks}) ->
    py_gateway_tasks:close(Tasks),
    %% What it has not read nobody waits for.
    _ = inet:setopts(Socket, [{linger, {true, 0}}]),
    over.
