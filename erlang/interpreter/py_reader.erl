%%% @doc The process that reads what one interpreter writes. It owns the port, so what Python sends fills its mailbox and not
%%% the worker's; it cuts the bytes into frames, looks where each goes, and hands them on in order. Knows no call.
%%%
%%% It counts what it has handed on and the worker has not taken. At the bound Python is killed here, at once, and what it
%%% still sends is dropped: so the worker never has more in front of a deadline, a cancellation or its own end than that.
%%%
%%% Linked to the worker: it ends with it, and the port with it. What the worker gets, each as `{Reader, Event}':
%%%
%%% ```
%%% {frames, Frames, Answers, Bytes, Count, Us}
%%%                                    as they came, for py_wire:next/1; how many of them are answers; Bytes and Count are
%%%                                    to be given to taken/3; when they were read
%%% {bad, Head}                        these bytes are no frame; nothing is read any more
%%% {flooded, Bytes}                   so much was not taken: it was killed; nothing is read any more
%%% {exit_status, Status} | eof        behind all that it had said
%%% closed                             the port has gone, and will say nothing more
%%% lost                               the process has ended, and others keep its pipes open
%%% '''
%%% @private
-module(py_reader).

-export([open/4, adopt/2, look/1, taken/3, stop/1]).
-export_type([reader/0, taken/0, kind/0]).

-type reader() :: pid().
-opaque taken() :: atomics:atomics_ref().
-type kind() :: {trusted | boxed, MostBytes :: pos_integer() | infinity}.
%% Whether answers count towards the bound, too, and how long a frame may be. The answers of a Python that is trusted are
%% bounded by its calls.

-record(state, {
    worker :: pid(),
    port :: port(),
    os_pid :: non_neg_integer(),
    %% Who leads the group of what runs: that program, or what it stands for.
    leader :: non_neg_integer(),
    %% What tells the process from a later one of its number; undefined where the system does not say, or it has been missed.
    identity :: undefined | binary(),
    kind :: trusted | boxed,
    most_bytes :: pos_integer() | infinity,
    input = py_wire:input() :: py_wire:input(),
    taken :: taken(),
    bytes = 0 :: non_neg_integer(),
    count = 0 :: non_neg_integer(),
    %% It is to be killed, or was: what it says is of no interest.
    is_deaf = false :: boolean(),
    %% Nothing has come since the last tick.
    is_quiet = true :: boolean(),
    %% Data has come since the last collection of garbage.
    is_dirty = false :: boolean()
}).

%% The bounds. What an honest Python prints, logs and casts is a thousandth of them ahead at the most.
-define(BOXED, {64 bsl 20, 200_000}).
-define(TRUSTED, {512 bsl 20, 2_000_000}).
-define(LARGE_BYTES, 1 bsl 20).
%% The pause between two looks whether a silent process lives.
-define(LOOK_MS, 1_000).
%% How long the pipes of a process that has ended may take to say so once nothing of its group is left.
-define(DRAIN_MS, 200).

%% @doc Start an interpreter and a reader of its port, linked to the calling process.
-spec open(py_config:pool(), file:filename_all(), Stderr :: file:filename_all() | undefined, kind()) ->
    {ok, reader(), port(), OsPid :: non_neg_integer(), Box :: undefined | py_sandbox:box(), taken()}
    | {error, py_launcher:reason()}.
open(Config, Python, Stderr, Kind) ->
    Worker = self(),
    Taken = atomics:new(2, []),
    Tag = make_ref(),
    Reader = proc_lib:spawn_opt(
        fun() -> init(Worker, Tag, Config, Python, Stderr, Kind, Taken) end,
        %% What comes is seen at once, however many callers are about to run: how long calls take is taken from that.
        [link, {message_queue_data, off_heap}, {priority, high}]
    ),
    receive
        {Tag, {ok, Port, OsPid, Box}} ->
            {ok, Reader, Port, OsPid, Box, Taken};
        {Tag, {error, _} = Error} ->
            stop(Reader),
            Error;
        {'EXIT', Reader, Reason} ->
            {error, {open_port, Python, Reason}}
    end.

%% @doc The port's program stands for this process, which leads a group of its own.
-spec adopt(reader(), OsPid :: non_neg_integer()) -> ok.
adopt(Reader, OsPid) ->
    Reader ! {adopt, OsPid},
    ok.

%% @doc Have it look whether its process lives. One whose child keeps the pipes open ends without a word.
-spec look(reader()) -> ok.
look(Reader) ->
    Reader ! look,
    ok.

%% @doc So much of what it handed on has been taken.
-spec taken(Bytes :: non_neg_integer(), Count :: non_neg_integer(), taken()) -> ok.
taken(_Bytes, 0, _Taken) ->
    ok;
taken(Bytes, Count, Taken) ->
    atomics:add(Taken, 1, Bytes),
    atomics:add(Taken, 2, Count).

%% @doc End it, and close the port; what it has sent before is still in the mailbox.
-spec stop(reader()) -> ok.
stop(Reader) ->
    unlink(Reader),
    exit(Reader, kill),
    ok.

init(Worker, Tag, Config, Python, Stderr, {Kind, MostBytes}, Taken) ->
    process_flag(trap_exit, true),
    case py_launcher:open(Config, Python, Stderr) of
        {ok, Port, OsPid, Box} ->
            Worker ! {Tag, {ok, Port, OsPid, Box}},
            Identity = py_launcher:identity(OsPid),
            _ = erlang:send_after(?LOOK_MS, self(), tick),
            loop(#state{
                worker = Worker,
                port = Port,
                os_pid = OsPid,
                leader = OsPid,
                identity = if is_binary(Identity) -> Identity; true -> undefined end,
                kind = Kind,
                most_bytes = MostBytes,
                taken = Taken
            });
        {error, _} = Error ->
            Worker ! {Tag, Error}
    end.

loop(#state{port = Port, worker = Worker} = State) ->
    receive
        {Port, {data, Data}} ->
            loop(data(Data, State#state{is_quiet = false}));
        {Port, {exit_status, _} = Status} ->
            tell(Status, State),
            loop(State);
        {Port, eof} ->
            tell(eof, State),
            loop(State);
        {'EXIT', Port, _} ->
            tell(closed, State),
            loop(State);
        {'EXIT', Worker, _} ->
            exit(shutdown);
        look ->
            loop(looked(State));
        {adopt, Leader} ->
            loop(State#state{leader = Leader});
        lost ->
            tell(lost, State),
            loop(State);
        tick ->
            _ = erlang:send_after(?LOOK_MS, self(), tick),
            loop(ticked(State));
        _ ->
            loop(State)
    end.

%% A timer for each read would be a tenth of what a read costs.
ticked(#state{is_quiet = true} = State) -> looked(collected(State));
ticked(State) -> State#state{is_quiet = true}.

tell(Event, #state{worker = Worker}) ->
    Worker ! {self(), Event},
    ok.

data(_Data, #state{is_deaf = true} = State) ->
    State;
data(Data, #state{input = Input, most_bytes = Most} = State) ->
    case py_wire:split(Data, Input, Most) of
        {ok, <<>>, Next} -> State#state{input = Next, is_dirty = true};
        {ok, Frames, Next} -> handed(Frames, State#state{input = Next, is_dirty = true});
        {error, Head} -> bad(Head, State)
    end.

bad(Head, State) ->
    tell({bad, Head}, State),
    State#state{is_deaf = true, input = py_wire:input()}.

%% The parts that a large frame was put together from are garbage only now, when no caller up the stack holds the state that
%% had them; the frame's receiver is about to need the room. Then the frame is garbage here.
handed(Frames, State) when byte_size(Frames) > ?LARGE_BYTES ->
    garbage_collect(),
    collected(hand(Frames, State));
handed(Frames, State) ->
    hand(Frames, State).

hand(Frames, #state{kind = Kind, bytes = HandedBytes, count = HandedCount} = State) ->
    {Good, Answers, Bytes, Count, Bad} = counted(Frames, Kind),
    case Count > 0 andalso untaken(State) of
        {flooded, Untaken} ->
            flooded(Untaken, State);
        _ ->
            Good =:= <<>> orelse tell({frames, Good, Answers, Bytes, Count, erlang:monotonic_time(microsecond)}, State),
            Next = State#state{bytes = HandedBytes + Bytes, count = HandedCount + Count},
            case Bad of
                none -> Next;
                Head -> bad(Head, Next)
            end
    end.

%% The frames that may be handed on, and what of them counts.
counted(Frames, trusted) ->
    {Answers, Bytes, Count} = requests(Frames, 0, 0, 0),
    {Frames, Answers, Bytes, Count, none};
counted(Frames, boxed) ->
    all(Frames, Frames, 0, 0, 0).

requests(Frames, Answers, Bytes, Count) ->
    case py_wire:answers(Frames) of
        {More, <<>>} -> {Answers + More, Bytes, Count};
        {More, Rest} -> first_request(py_wire:next(Rest), Answers + More, Bytes, Count)
    end.

first_request({{answer, _}, _, Rest}, Answers, Bytes, Count) -> requests(Rest, Answers + 1, Bytes, Count);
first_request({request, Frame, Rest}, Answers, Bytes, Count) -> requests(Rest, Answers, Bytes + byte_size(Frame), Count + 1).

%% To look where a compressed frame goes is to inflate it: a box may send none.
all(<<>>, Frames, Answers, Bytes, Count) ->
    {Frames, Answers, Bytes, Count, none};
all(<<Length:32, Frame:Length/binary, Rest/binary>> = Left, Frames, Answers, Bytes, Count) ->
    case py_wire:is_compressed(Frame) orelse py_wire:route(Frame) of
        true ->
            Good = binary:part(Frames, 0, byte_size(Frames) - byte_size(Left)),
            {Good, Answers, Bytes, Count, binary:part(Frame, 0, min(64, Length))};
        {answer, _} ->
            all(Rest, Frames, Answers + 1, Bytes + Length, Count + 1);
        request ->
            all(Rest, Frames, Answers, Bytes + Length, Count + 1)
    end.

%% What comes now is not counted: whatever its size, one frame passes where nothing waits.
untaken(#state{kind = Kind, taken = Taken, bytes = Bytes, count = Count}) ->
    {MostBytes, MostCount} =
        case Kind of
            boxed -> ?BOXED;
            trusted -> ?TRUSTED
        end,
    Untaken = Bytes - atomics:get(Taken, 1),
    case Untaken > MostBytes orelse Count - atomics:get(Taken, 2) > MostCount of
        true -> {flooded, Untaken};
        false -> ok
    end.

flooded(Untaken, #state{leader = Leader} = State) ->
    _ = spawn(fun() -> py_launcher:kill(Leader) end),
    tell({flooded, Untaken}, State),
    State#state{is_deaf = true, input = py_wire:input()}.

collected(#state{is_dirty = true} = State) ->
    garbage_collect(),
    State#state{is_dirty = false};
collected(State) ->
    State.

%% Its number is free, or another's: what it has left of its group is in the way of its last words, and ends.
looked(#state{identity = undefined} = State) ->
    State;
looked(#state{identity = Identity, os_pid = OsPid, leader = Leader} = State) ->
    case py_launcher:identity(OsPid) of
        Identity ->
            State;
        unknown ->
            State;
        _ ->
            _ = spawn(fun() -> py_launcher:kill_group(Leader) end),
            _ = erlang:send_after(?DRAIN_MS, self(), lost),
            State#state{identity = undefined}
    end.
