%%% @doc The three kinds of failure, kept apart, and how the shell shows them.
%%%
%%% <ul>
%%% <li>Python raised: `error({python, Class, Text, Trace})', see {@link python_error()};</li>
%%% <li>the bridge failed: `error({py, Reason})', see {@link reason()};</li>
%%% <li>the caller erred: `error(badarg)', before anything is sent.</li>
%%% </ul>
%%%
%%% Each carries `error_info' (EEP 54), so the shell prints the Python traceback, or which argument was wrong and why,
%%% under the error.
-module(py_error).

-export([raise/2, badarg/3, format_error/2, text/1, start_text/1, source_text/1]).
-export_type([python_error/0, erlang_error/0, reason/0, down_reason/0, ending/0, frame/0, api/0]).

%% What is shown of a text, at most.
-define(MOST_SHOWN_BYTES, 65_536).

-type frame() ::
    {File :: string(), Line :: non_neg_integer(), Function :: string(), Source :: string()}
    | {cause, Class :: atom(), Text :: string(), [frame()]}
    | {item, pos_integer()}.
%% A line of a Python traceback, innermost first as in Erlang's; then the exception that this one was raised from; then,
%% for a list that was worked on in chunks, the position of the item.
-type python_error() :: {python, Class :: atom(), Text :: string(), [frame()]}.
%% `Class' is the full name, such as `builtins.ZeroDivisionError'.
-type erlang_error() :: {erlang, error | exit | throw, Reason :: term(), Stacktrace :: [tuple()]}.
%% What an Erlang function raised that Python called, and that Python let pass.
-type reason() ::
    timeout
    | not_started
    | {no_directory, string()}
    | {worker_down, down_reason() | term()}
    | overload
    | {nested, Most :: pos_integer()}
    | {scheduler, term()}
    | {last_worker, py_config:pool_name()}
    | {too_many_workers, pos_integer()}
    | {unknown_pool, term()}
    | {unknown_worker, term()}
    | {other_pool, py_config:pool_name()}
    | {stale_reference, string() | py_term:ref()}
    | {shared_memory, string()}
    | {elsewhere, string()}
    | {no_shared_memory, string()}
    | {encode, string()}
    | {decode, string()}
    | {protocol, term()}
    | {node_down, node()}
    | {not_distributed, node()}
    | {ship, term()}
    | cancelled
    | session_closed
    | {session_restarted, down_reason() | term()}
    | {too_many_sessions, pos_integer()}
    | {gateway, Path :: string(), Text :: string()}
    | {page, Text :: string()}
    | {unknown_service, term()}
    | {service, Name :: binary(), Text :: string()}
    | {link, unicode:chardata()}
    | {state_dir, Path :: string(), {locked, OsPid :: pos_integer()} | Text :: string()}
    | {unknown_run, term()}
    | {run_state, atom()}
    | {run, string()}
    | {unknown_entity, term()}
    | {entity_exists, term()}
    | {entity, string()}
    | {env, string()}
    | interrupted
    | {start, term(), term()}
    | {already_started, pid()}
    | {bad_config, term(), py_options:problem()}.
-type down_reason() ::
    ending()
    | {deadline, killed}
    | {memory, Bytes :: pos_integer()}
    | {protocol, binary()}
    | {flooded, Bytes :: pos_integer()}
    | {start, term()}
    | recycled
    | stopped
    | restarting.
%% Why a worker lost its interpreter.
-type ending() ::
    {exit_status, 0..255, LastLines :: string()} | {signal, 1..127, LastLines :: string()} | closed.
%% How an interpreter ended that nobody killed; with the last lines that it wrote to standard error.
-type api() :: {Function :: atom(), Args :: [term()]} | {module(), Function :: atom(), Args :: [term()]}.
%% What was called: a function of `py' where no module is named.

%% @doc Fail as the API function that was called, which the tail calls below it have taken off the stack.
-spec raise(term(), api()) -> no_return().
raise({erlang, Class, Reason, Stack} = Error, Api) ->
    Frames = as_shown([Frame || {M, F, _, Info} = Frame <- proper(Stack), is_atom(M), is_atom(F), is_list(Info)], Api),
    %% As it was raised there. A class or a frame that is none, from Python code that made one up, is a value.
    _ = erlang:raise(Class, Reason, Frames ++ [called(Api, []) | callers()]),
    raise(Error, Api, #{});
raise(Reason, Api) ->
    raise(Reason, Api, hints(Reason, Api)).

%% What an argument was is not for whoever must not see any.
hints(Reason, Api) ->
    Args = element(tuple_size(Api), Api),
    case showing(Args) of
        none -> #{};
        _ -> py_hint:cause(Reason, Args, list_of(Api))
    end.

%% Which argument has the items.
list_of({pmap, _}) -> 3;
list_of({preduce, _}) -> 3;
list_of({pmap_reduce, _}) -> 4;
list_of({pfold, _}) -> 5;
list_of(_) -> none.

%% @doc `badarg' for the argument at this position.
-spec badarg(pos_integer(), unicode:chardata(), api()) -> no_return().
badarg(Position, Why, Api) -> raise(badarg, Api, #{Position => unicode:characters_to_binary(Why)}).

-spec raise(term(), api(), map()) -> no_return().
raise(Reason, Api, Cause) ->
    Info = [{error_info, #{module => ?MODULE, cause => Cause}}],
    erlang:raise(error, Reason, [called(Api, Info) | callers()]).

called({Function, Args}, Info) -> called({py, Function, Args}, Info);
called({Module, Function, Args}, Info) ->
    case showing(Args) of
        cut -> {Module, Function, py_excerpt:arguments(Args), Info};
        none -> {Module, Function, length(Args), Info};
        all -> {Module, Function, Args, Info}
    end.

%% Those of an Erlang function that Python called had their arguments from Python, which had its own from the call.
as_shown(Frames, Api) ->
    case showing(element(tuple_size(Api), Api)) of
        cut -> py_excerpt:stack(Frames);
        none -> [{M, F, if length(Args) >= 0 -> length(Args); true -> Args end, Info} || {M, F, Args, Info} <- Frames];
        all -> Frames
    end.

%% What the call's own options say, those of its pool, or the application.
showing(Args) ->
    Options =
        case Args of
            [_ | _] -> lists:last(Args);
            [] -> none
        end,
    case Options of
        #{show_arguments := Given} when Given =:= cut; Given =:= none; Given =:= all -> Given;
        #{pool := Pool} -> of_pool(Pool);
        _ -> of_pool(default)
    end.

of_pool(Pool) ->
    case py_registry:pool(Pool) of
        {ok, #{show_arguments := Given}} when Given =/= undefined -> Given;
        _ -> py_config:show_arguments()
    end.

proper(Stack) when length(Stack) >= 0 -> Stack;
proper(_) -> [].

%% The caller and its callers: none of the functions that the API is made of, wherever they stand.
callers() ->
    {current_stacktrace, Stack} = process_info(self(), current_stacktrace),
    Ours = ours(),
    [
        Frame
     || {Module, _, _, _} = Frame <- lists:dropwhile(fun({Module, _, _, _}) -> lists:member(Module, Ours) end, Stack),
        lists:member(Module, api()) orelse not lists:member(Module, Ours)
    ].

ours() ->
    case application:get_key(py, modules) of
        {ok, Modules} ->
            Modules;
        undefined ->
            %% Nobody has started it yet.
            case application:load(py) of
                ok -> ours();
                {error, _} -> [?MODULE | api()]
            end
    end.

api() -> [py, 'py-util', py_session, py_cluster, py_erlport].

%% @doc What the shell prints under an error of ours (EEP 54). Each text is a binary: Elixir puts them behind others of its own,
%% and takes nothing else.
-spec format_error(term(), [tuple()]) -> #{general | pos_integer() => unicode:unicode_binary()}.
format_error(Reason, [{_Module, _Function, _Args, Info} | _]) ->
    Cause = maps:map(fun(_, Text) -> py_reason:utf8(Text) end, cause(Info)),
    case explanation(Reason) of
        <<>> -> Cause;
        %% The shell indents the first line only. Elixir shows what is said of arguments in place of the text, where both stand side by side.
        Text ->
            Notes = [[$\n, "argument ", integer_to_binary(Position), ": ", Note] || {Position, Note} <- lists:sort(maps:to_list(Cause))],
            #{general => binary:replace(iolist_to_binary([shortened(Text) | Notes]), <<"\n">>, <<"\n     ">>, [global])}
    end.

cause(Info) ->
    case is_list(Info) andalso lists:keyfind(error_info, 1, Info) of
        {error_info, #{cause := #{} = Cause}} -> Cause;
        _ -> #{}
    end.

%% Whoever prints an error must not get another one, whatever made the first.
explanation(Reason) ->
    try
        py_reason:utf8(text(Reason))
    catch
        error:_ -> py_reason:utf8(io_lib:format("~tP", [Reason, 20]))
    end.

%% The beginning of a long text, and its end, where Python says what it was.
shortened(Text) when byte_size(Text) =< ?MOST_SHOWN_BYTES -> Text;
shortened(Text) ->
    Half = ?MOST_SHOWN_BYTES div 2,
    Left = integer_to_binary(byte_size(Text) - 2 * Half),
    Last = binary:part(Text, byte_size(Text) - Half, Half),
    iolist_to_binary([whole(binary:part(Text, 0, Half)), "\n... ", Left, " bytes ...\n", from_character(Last)]).

whole(Text) ->
    case unicode:characters_to_binary(Text) of
        {incomplete, Whole, _} -> Whole;
        Whole -> Whole
    end.

%% UTF-8 goes on with bytes of the form 10xxxxxx.
from_character(<<2#10:2, _:6, Rest/binary>>) -> from_character(Rest);
from_character(Text) -> Text.

%% @doc A failure for people: Python's traceback, or what was wrong and what to do. Whatever Python has sent as one is a text
%% here, and nothing that fails: processes ask that have others to look after.
-spec text(term()) -> unicode:chardata().
text(Error) -> py_reason:text(Error).

%% @doc Why an interpreter did not start, and what to do about it.
-spec start_text(term()) -> unicode:chardata().
start_text(Reason) -> py_reason:start_text(Reason).

%% @doc Where the name of an interpreter came from.
-spec source_text(atom()) -> string().
source_text(Source) -> py_reason:source_text(Source).
