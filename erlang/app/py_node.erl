%%% @doc A node that is there for Python programs: what `erl -s py_node main' runs, below a program that has started it.
%%%
%%% Descriptor 0 is a socket whose other end its parent has. Over it come the settings, and when that ends, or the parent does, so does
%%% the node. "A node for drivers" in docs/architecture.md has the messages.
%%% @private
-module(py_node).

-export([main/0, halted_with/1, halted_after/1]).

-define(VERSION, 1).
-define(PARENT_MS, 500).
%% How long its own end may take.
-define(END_MS, 2_000).

%% @doc Serve the parent, until it ends.
-spec main() -> ok.
main() ->
    %% They take as long as all the rest of the start, and can be read side by side, while the settings come.
    _ = spawn(fun() -> code:ensure_loaded(crypto) end),
    _ = spawn(fun load/0),
    Main = spawn(fun serve/0),
    %% Without it nobody would end the node.
    _ = spawn(?MODULE, halted_with, [Main]),
    ok.

%% @doc A process that is started with it.
-spec halted_with(pid()) -> no_return().
halted_with(Main) ->
    Monitor = monitor(process, Main),
    receive
        {'DOWN', Monitor, process, Main, _} -> halt(1, [{flush, false}])
    end.

%% All of them at once: it takes half of the time, and nothing has to be read later where no descriptor is left.
load() ->
    _ = application:load(py),
    case application:get_key(py, modules) of
        {ok, Modules} -> code:ensure_modules_loaded(Modules);
        undefined -> ok
    end.

-spec serve() -> no_return().
serve() ->
    process_flag(trap_exit, true),
    waiting(open_port({fd, 0, 0}, [{packet, 4}, binary, eof])).

waiting(Port) ->
    receive
        {Port, {data, Frame}} -> told(Frame, Port);
        {Port, eof} -> halt(0, [{flush, false}]);
        {'EXIT', Port, _} -> halt(0, [{flush, false}]);
        _ -> waiting(Port)
    end.

told(Frame, Port) ->
    try binary_to_term(Frame) of
        {start, ?VERSION, Settings} when is_map(Settings) -> start(Settings, Port);
        {start, Version, _} -> failed({version, ?VERSION}, io_lib:format("the node speaks version ~w, its parent ~w", [?VERSION, Version]), Port);
        _ -> failed(protocol, "the first message is not start", Port)
    catch
        error:badarg -> failed(protocol, "the first message is no term", Port)
    end.

-spec failed(term(), unicode:chardata(), port()) -> no_return().
failed(Reason, Text, Port) ->
    say({failed, py_gateway_wire:simple(Reason), unicode:characters_to_binary(Text)}, Port),
    %% The parent has read it when it closes its end.
    receive
        {Port, eof} -> ok;
        {'EXIT', Port, _} -> ok
    after ?END_MS -> ok
    end,
    halt(1, [{flush, false}]).

say(Message, Port) ->
    try port_command(Port, term_to_binary(Message)) of
        true -> ok
    catch
        error:badarg -> ok
    end.

%%% The start

start(Settings, Port) ->
    %% Who has started it is told by its connections; its standard streams are nobody's.
    _ = logger:remove_handler(default),
    %% Which processes OTP has started nobody asked; a program may well ask for all of level `info'.
    _ = logger:add_primary_filter(progress, {fun logger_filters:progress/2, stop}),
    %% The parent reads it, and decodes what Pythons write there, whatever the locale is.
    _ = io:setopts(standard_error, [{encoding, unicode}]),
    Parent = maps:get(parent, Settings, undefined),
    Began = began(Parent),
    _ = logger:set_primary_config(level, maps:get(log_level, Settings, info)),
    Node = self(),
    %% It may take long, and the parent may end meanwhile.
    Starter = spawn(fun() -> Node ! {self(), started(Settings, Node)} end),
    served(Starter, Parent, Began, Port).

started(Settings, Node) ->
    _ = application:load(py),
    case pools(maps:to_list(maps:get(pools, Settings, #{})), []) of
        {ok, Pools} ->
            _ = [application:set_env(py, Key, Value) || {Key, Value} <- maps:to_list(maps:get(env, Settings, #{})), Key =/= pools],
            application:set_env(py, pools, Pools),
            application:set_env(py, gateway, []),
            %% What an application warns of in its log is an error where a program has just written it.
            case py_config:environment() of
                {ok, []} -> with_page(listening(py:start(), maps:get(path, Settings, auto), Node), Settings);
                {ok, [Unknown | _]} -> {error, {py, {bad_config, py, Unknown}}};
                {error, Problem} -> {error, {py, Problem}}
            end;
        {error, _} = Error ->
            Error
    end.

with_page({ok, File}, #{page := Options}) ->
    try py_dashboard:start(Options) of
        {ok, Url} -> {ok, File, #{page => Url}};
        {error, _} = Error -> Error
    catch
        error:badarg -> {error, {py, {page, "its options are none"}}}
    end;
with_page({ok, File}, _Settings) ->
    {ok, File, #{}};
with_page({error, _} = Error, _Settings) ->
    Error.

pools([{Name, Options} | Rest], Acc) when is_map(Options) ->
    case py_gateway_pools:spelled(Options) of
        {ok, Spelled} -> pools(Rest, [{pool_name(Name), Spelled} | Acc]);
        {error, Problem} -> {error, {py, {bad_config, pool_name(Name), Problem}}}
    end;
pools([{Name, none} | Rest], Acc) ->
    pools(Rest, [{pool_name(Name), none} | Acc]);
pools([], Acc) ->
    {ok, Acc}.

pool_name(Name) when is_binary(Name) -> binary_to_atom(Name);
pool_name(Name) -> Name.

listening({error, _} = Error, _Path, _Node) ->
    Error;
listening({ok, started}, Path, Node) ->
    case py_gateway:check(#{path => Path}) of
        {ok, #{path := File} = Options} ->
            case py_gateway_sup:start_gateway(Options#{stop := fun() -> Node ! stop, ok end}) of
                {ok, _} -> {ok, File};
                {error, _} = Error -> Error
            end;
        {error, Problem} ->
            {error, {py, {bad_config, gateway, Problem}}}
    end.

%%% Its life

served(Starter, Parent, Began, Port) ->
    receive
        {Starter, {ok, Path, More}} ->
            Info = More#{path => unicode:characters_to_binary(Path), os_pid => list_to_integer(os:getpid()), node => node()},
            say({ready, ?VERSION, Info}, Port),
            served(Starter, Parent, Began, Port);
        {Starter, {error, Reason}} ->
            failed(reason(Reason), text(Reason), Port);
        {Port, {data, Frame}} ->
            case binary_to_term(Frame) of
                {stop, Drain} -> ended(Drain);
                _ -> served(Starter, Parent, Began, Port)
            end;
        stop ->
            ended(default);
        {Port, eof} ->
            ended(0);
        {'EXIT', Port, _} ->
            ended(0);
        _ ->
            served(Starter, Parent, Began, Port)
    after ?PARENT_MS ->
        case is_there(Parent, Began) of
            true -> served(Starter, Parent, Began, Port);
            false -> ended(0)
        end
    end.

reason({py, Reason}) -> Reason;
reason(Reason) -> Reason.

text({Application, {"no such file or directory", _}}) when is_atom(Application) ->
    io_lib:format(
        "its Erlang has no ~w: install that application (Debian, Ubuntu: apt-get install erlang-~w)", [Application, Application]
    );
text(Reason) ->
    case py_error:text(Reason) of
        "" -> io_lib:format("~tP", [Reason, 20]);
        Text -> Text
    end.

%% Whatever the stop waits for, this ends.
-spec ended(timeout() | default) -> no_return().
ended(Drain) ->
    _ = is_integer(Drain) andalso spawn_opt(?MODULE, halted_after, [Drain + ?END_MS], [{priority, high}]),
    _ = case Drain of
        default -> py:stop();
        _ -> py:stop(Drain)
    end,
    halt(0, [{flush, false}]).

%% @doc Likewise.
-spec halted_after(non_neg_integer()) -> no_return().
halted_after(Ms) ->
    receive after Ms -> halt(0, [{flush, false}]) end.

%% What tells a process from a later one that has its number; `gone' where there is none. Where it can't be seen, as when no descriptor is
%% left, it lives.
is_there(undefined, _Began) ->
    true;
is_there(OsPid, Began) ->
    case py_launcher:identity(OsPid) of
        unknown -> true;
        Now -> Now =:= Began orelse Began =:= unknown andalso Now =/= gone
    end.

began(undefined) -> undefined;
began(OsPid) -> py_launcher:identity(OsPid).
